//! Certificates of one's own: an authority, and what it signed for a server and its clients.

use std::process::{Command, Stdio};

use tempfile::TempDir;

/// `ca.crt` and `ca.key` of the authority; `home.crt` and `home.key` for `home.test`, `localhost`, 127.0.0.1 and ::1.
pub(crate) struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// `None` where openssl cannot make them.
    pub(crate) fn make() -> Option<Certificates> {
        let made = Certificates { directory: tempfile::tempdir().expect("a temporary directory") };
        let names = "subjectAltName=DNS:home.test,DNS:localhost,IP:127.0.0.1,IP:::1";
        let done = made.openssl(
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=authority",
        ) && made.openssl(&format!(
            "req -newkey rsa:2048 -nodes -keyout home.key -out home.csr -subj /CN=home -addext {names}"
        )) && made.openssl(
            "x509 -req -in home.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out home.crt",
        );
        done.then_some(made)
    }

    fn openssl(&self, arguments: &str) -> bool {
        let mut command = Command::new("openssl");
        command.current_dir(self.directory.path()).args(arguments.split(' '));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// What a redis-server needs besides its `tls-port`, which asks its clients for a certificate too.
    pub(crate) fn server_options(&self) -> [(&'static str, String); 4] {
        [
            ("tls-cert-file", self.file("home.crt")),
            ("tls-key-file", self.file("home.key")),
            ("tls-ca-cert-file", self.file("ca.crt")),
            ("tls-auth-clients", "yes".to_owned()),
        ]
    }
}
