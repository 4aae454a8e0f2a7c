//! All clients of the process, as CLIENT LIST shows them and CLIENT KILL finds them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::command::CommandId;

/// What others may know of a session. The session alone writes it, but for `killed`.
#[derive(Debug)]
pub struct ClientInfo {
    /// CLIENT ID; never given twice.
    pub id: u64,
    /// Its own address.
    pub address: SocketAddr,
    /// The address it connected to.
    pub local: SocketAddr,
    /// The socket's descriptor number.
    pub descriptor: i32,
    /// The worker that serves it.
    pub worker: u16,
    /// When it connected ([`crate::clock::now`]).
    pub since: u64,
    /// When it last sent something.
    pub active: AtomicU64,
    /// Its last command: index of the table + 1, 0 for none.
    pub command: AtomicU32,
    /// Commands it sent.
    pub commands: AtomicU64,
    /// Its database.
    pub db: AtomicU32,
    /// 2 or 3.
    pub proto: AtomicU32,
    /// Bytes of unfinished input.
    pub input: AtomicU64,
    /// Bytes of replies it has not taken.
    pub output: AtomicU64,
    /// It is to be ended.
    pub killed: AtomicBool,
    /// CLIENT NO-EVICT.
    pub no_evict: AtomicBool,
    /// CLIENT SETNAME and SETINFO.
    pub labels: Mutex<Labels>,
}

/// What a client says of itself.
#[derive(Debug, Default, Clone)]
pub struct Labels {
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO LIB-VER.
    pub lib_ver: Vec<u8>,
}

impl ClientInfo {
    /// Notes a batch of commands.
    pub fn note(&self, now: u64, command: Option<CommandId>, commands: u64) {
        self.active.store(now, Relaxed);
        self.command.store(command.map_or(0, |c| c.index() as u32 + 1), Relaxed);
        self.commands.store(self.commands.load(Relaxed) + commands, Relaxed);
    }
}

/// The register.
#[derive(Debug, Default)]
pub struct Clients {
    next: AtomicU64,
    all: Mutex<BTreeMap<u64, Arc<ClientInfo>>>,
}

impl Clients {
    /// The number of the next client.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Relaxed) + 1
    }

    /// Enters a client.
    pub fn insert(&self, info: Arc<ClientInfo>) {
        self.all.lock().insert(info.id, info);
    }

    /// Removes a client.
    pub fn remove(&self, id: u64) {
        self.all.lock().remove(&id);
    }

    /// Clients connected now.
    pub fn len(&self) -> usize {
        self.all.lock().len()
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everybody, by number.
    pub fn list(&self) -> Vec<Arc<ClientInfo>> {
        self.all.lock().values().cloned().collect()
    }
}
