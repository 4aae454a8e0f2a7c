//! TLS toward servers, as the configuration describes it.

use std::path::Path;

use anyhow::Context;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Tls;

/// Roots, client certificate and versions, from the files that the configuration names in this section.
///
/// # Errors
/// A file that cannot be read or holds nothing of use, with its setting.
pub fn client_config(section: &str, settings: &Tls) -> anyhow::Result<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    match &settings.ca_file {
        Some(file) => {
            for certificate in read_pem(file, &format!("{section}.ca_file"))? {
                roots.add(certificate)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    Ok(match &settings.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = read_pem(&identity.cert_file, &format!("{section}.cert_file"))?;
            let key = PrivateKeyDer::from_pem_file(&identity.key_file)
                .with_context(|| format!("{section}.key_file: {}", identity.key_file.display()))?;
            builder.with_client_auth_cert(chain, key)?
        }
    })
}

fn read_pem(file: &Path, setting: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .with_context(|| format!("{setting}: {}", file.display()))?
        .collect();
    let certificates = certificates.with_context(|| format!("{setting}: {}", file.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "{setting}: {} holds no certificate", file.display());
    Ok(certificates)
}
