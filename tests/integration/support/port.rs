//! A TCP port of 127.0.0.1 that stays ours for as long as a server may be restarted on it.
//!
//! A socket that is bound but does not listen holds the port: the kernel hands it to nobody else, neither to a
//! `bind` to port 0 nor as the source of an outgoing connection, yet a server that sets `SO_REUSEADDR` may listen on it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

pub(crate) struct Port {
    number: u16,
    _held: Socket,
}

impl Port {
    pub(crate) fn reserve() -> io::Result<Port> {
        let held = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        held.set_reuse_address(true)?;
        held.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        let bound = held.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        Ok(Port { number: bound.port(), _held: held })
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_reserved_port_refuses_clients_until_a_server_listens_on_it() {
        let port = Port::reserve().unwrap();
        assert_eq!(TcpStream::connect(port.address()).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        for _ in 0..2 {
            let server = TcpListener::bind(port.address()).unwrap();
            assert_eq!(TcpStream::connect(port.address()).unwrap().peer_addr().unwrap(), port.address());
            drop(server);
        }
    }
}
