//! Where a server is: `l2.url` and the nodes of `[l3]`. Messages never quote a URL: it may hold a password.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use url::{Host, Url};

use super::Secret;
use super::tiers::HostPort;

/// What is accepted, for error messages.
pub(super) const ACCEPTED: &str = "\"embedded\", \"redis://host:6379\", \"rediss://host:6379\" (TLS) \
    or \"unix:///path/of/socket\"; user, password and database as in redis://user:password@host:6379/0";

/// `sun_path` holds 108 bytes with the final NUL.
const MAX_SOCKET_PATH: usize = 107;

/// A URL taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) place: Place,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: Option<u32>,
}

/// Where it leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Embedded,
    Tcp { host: String, port: u16, tls: bool },
    Unix { path: PathBuf },
}

/// Reads a URL. The error says what is wrong with it, and shows none of it.
pub(super) fn parse(text: &str) -> Result<Location, String> {
    let scheme = text.split_once(':').map_or(text, |(scheme, _)| scheme);
    match scheme.to_ascii_lowercase().as_str() {
        "embedded" if text.eq_ignore_ascii_case("embedded") => Ok(plain(Place::Embedded)),
        "unix" | "redis+unix" => socket(text),
        "redis" => server(text, false),
        "rediss" => server(text, true),
        "" => Err("is empty".to_owned()),
        _ if text.contains("://") => Err("has an unknown scheme".to_owned()),
        _ => Err("is not a URL".to_owned()),
    }
}

fn plain(place: Place) -> Location {
    Location { place, username: None, password: None, database: None }
}

fn socket(text: &str) -> Result<Location, String> {
    let path = text.split_once("://").map_or("", |(_, path)| path);
    if !path.starts_with('/') {
        return Err("needs an absolute path after unix://".to_owned());
    }
    if path.contains(['?', '#']) {
        return Err("has more than a path: user, password and database have keys of their own".to_owned());
    }
    if path.len() > MAX_SOCKET_PATH {
        return Err(format!("has a path longer than the {MAX_SOCKET_PATH} bytes of a socket's name"));
    }
    Ok(plain(Place::Unix { path: PathBuf::from(path) }))
}

fn server(text: &str, tls: bool) -> Result<Location, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    let host = match url.host() {
        Some(Host::Domain(name)) if is_name(name) => name.to_owned(),
        Some(Host::Domain(_)) => return Err("has a host that is neither a name nor an address".to_owned()),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => return Err("has no host".to_owned()),
    };
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has parameters, which are not known".to_owned());
    }
    let port = match url.port() {
        Some(0) => return Err("has port 0".to_owned()),
        port => port.unwrap_or(6379),
    };
    Ok(Location {
        place: Place::Tcp { host, port, tls },
        username: Some(decoded(url.username())?).filter(|name| !name.is_empty()),
        password: url.password().map(decoded).transpose()?.filter(|p| !p.is_empty()).map(Secret::new),
        database: database(url.path())?,
    })
}

/// Reads `host:port`, where an IPv6 address is in brackets.
pub(super) fn host_and_port(text: &str) -> Option<HostPort> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()));
    let port = port.filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().ok()?.to_string(),
        None if is_name(host) => host.to_owned(),
        None => return None,
    };
    Some(HostPort { host, port })
}

fn is_name(host: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=253).contains(&host.len()) && host.bytes().all(known)
}

fn database(path: &str) -> Result<Option<u32>, String> {
    let number = path.strip_prefix('/').unwrap_or(path);
    if number.is_empty() {
        return Ok(None);
    }
    match number.parse::<u32>() {
        Ok(database) if i32::try_from(database).is_ok() && !number.starts_with('+') => Ok(Some(database)),
        _ => Err("has a path that is not the number of a database".to_owned()),
    }
}

/// Reads the URL of a PostgreSQL, of one host or several, and takes its password out of it. The error shows none of it.
pub(super) fn postgres(text: &str) -> Result<(String, Option<Secret>), String> {
    let (scheme, rest) = text.split_once("://").ok_or("is not a URL")?;
    if !["postgres", "postgresql"].contains(&scheme) {
        return Err("has an unknown scheme".to_owned());
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
    let (user, password) = user.split_once(':').map_or((user, ""), |(user, password)| (user, password));
    if path.split(['?', '&']).any(|parameter| parameter.starts_with("password=")) {
        return Err("has a password among its parameters: l4.password is its key".to_owned());
    }
    // Where TLS is required the certificate is verified in any case.
    let path = path.replace("sslmode=verify-full", "sslmode=require");
    let at = if user.is_empty() { "" } else { "@" };
    let url = format!("{scheme}://{user}{at}{hosts}{path}");
    match url.parse::<tokio_postgres::Config>() {
        Ok(config) if config.get_user().is_none() => Err("names no user".to_owned()),
        Ok(config) if config.get_hosts().is_empty() => Err("names no host".to_owned()),
        Ok(_) => Ok((url, Some(decoded(password)?).filter(|p| !p.is_empty()).map(Secret::new))),
        Err(_) => Err("is not a URL of PostgreSQL, or has an unknown parameter".to_owned()),
    }
}

/// Undoes `%41`.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || "has a user or a password with a wrong % sequence".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let code = digit().zip(digit()).map(|(high, low)| high * 16 + low);
        bytes.push(code.and_then(|code| u8::try_from(code).ok()).ok_or_else(wrong)?);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, tls: bool) -> Place {
        Place::Tcp { host: host.to_owned(), port, tls }
    }

    #[test]
    fn reads_every_kind() {
        for (url, place) in [
            ("embedded", Place::Embedded),
            ("redis://cache", tcp("cache", 6379, false)),
            ("redis://cache/", tcp("cache", 6379, false)),
            ("REDIS://10.0.0.1:7000", tcp("10.0.0.1", 7000, false)),
            ("redis://[::1]:7000", tcp("::1", 7000, false)),
            ("rediss://my-cache_1.example.org:6380", tcp("my-cache_1.example.org", 6380, true)),
            ("unix:///run/redis.sock", Place::Unix { path: "/run/redis.sock".into() }),
            ("redis+unix:///run/a b%41.sock", Place::Unix { path: "/run/a b%41.sock".into() }),
        ] {
            assert_eq!(parse(url), Ok(plain(place)), "{url}");
        }
    }

    #[test]
    fn reads_user_password_and_database() {
        let location = parse("rediss://app:p%40ss%2fw%C3%B6rd@cache:1/15").unwrap();
        assert_eq!(location.place, tcp("cache", 1, true));
        assert_eq!(location.username.as_deref(), Some("app"));
        assert_eq!(location.password.as_ref().map(Secret::expose), Some("p@ss/wörd"));
        assert_eq!(location.database, Some(15));
        let location = parse("redis://:pw@cache").unwrap();
        assert_eq!((location.username, location.password), (None, Some(Secret::new("pw"))));
    }

    #[test]
    fn reads_hosts_with_ports() {
        for text in ["10.0.0.1:6379", "redis-1.example.org:1", "[::1]:65535", "[fe80::1:2]:6379"] {
            assert_eq!(host_and_port(text).map(|found| found.to_string()), Some(text.to_owned()));
        }
        assert_eq!(host_and_port("[::1]:7"), Some(HostPort { host: "::1".to_owned(), port: 7 }));
        for text in [
            "",
            ":",
            "cache",
            "cache:",
            ":6379",
            "cache:0",
            "cache:+1",
            "cache:65536",
            "::1:6379",
            "[x]:1",
            "a b:1",
        ] {
            assert_eq!(host_and_port(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_url_of_a_postgres_is_kept_without_its_password() {
        for (given, url, password) in [
            ("postgres://app:p%40ss:w@db/x", "postgres://app@db/x", Some("p@ss:w")),
            (
                "postgresql://app@a:1,b:2/x?sslmode=verify-full",
                "postgresql://app@a:1,b:2/x?sslmode=require",
                None,
            ),
            ("postgres://app@%2Frun%2Fpostgresql/x", "postgres://app@%2Frun%2Fpostgresql/x", None),
            ("postgres://db?user=app", "postgres://db?user=app", None),
        ] {
            let password = password.map(Secret::new);
            assert_eq!(postgres(given), Ok((url.to_owned(), password)), "{given}");
        }
        for (given, wrong) in [
            ("", "is not a URL"),
            ("redis://a@b", "has an unknown scheme"),
            ("postgres://db/x", "names no user"),
            ("postgres://app@/x", "names no host"),
            ("postgres://app@db/x?password=p", "has a password among its parameters: l4.password is its key"),
            ("postgres://app@db/x?ssl=p", "is not a URL of PostgreSQL, or has an unknown parameter"),
        ] {
            assert_eq!(postgres(given), Err(wrong.to_owned()), "{given}");
        }
    }

    #[test]
    fn refuses_the_rest_without_quoting_it() {
        let long = format!("unix:///{}", "x".repeat(107));
        for (url, wrong) in [
            ("", "is empty"),
            ("localhost", "is not a URL"),
            ("localhost:6379", "is not a URL"),
            ("embedded:x", "is not a URL"),
            ("http://cache", "has an unknown scheme"),
            ("redis://", "has no host"),
            ("redis:cache", "has no host"),
            ("redis://:pw@", "is not a URL: empty host"),
            ("redis://cache:99999", "is not a URL: invalid port number"),
            ("redis://cache:0", "has port 0"),
            ("redis://a%20b", "has a host that is neither a name nor an address"),
            ("redis://cache/x", "has a path that is not the number of a database"),
            ("redis://cache/-1", "has a path that is not the number of a database"),
            ("redis://cache/+1", "has a path that is not the number of a database"),
            ("redis://cache/2147483648", "has a path that is not the number of a database"),
            ("redis://cache?db=1", "has parameters, which are not known"),
            ("redis://:%zz@cache", "has a user or a password with a wrong % sequence"),
            ("redis://:%ff@cache", "has a user or a password with a wrong % sequence"),
            ("unix://run/redis.sock", "needs an absolute path after unix://"),
            ("unix:/run/redis.sock", "needs an absolute path after unix://"),
            (
                "unix:///run/redis.sock?password=pw",
                "has more than a path: user, password and database have keys of their own",
            ),
            (&long, "has a path longer than the 107 bytes of a socket's name"),
        ] {
            assert_eq!(parse(url), Err(wrong.to_owned()), "{url}");
        }
    }
}
