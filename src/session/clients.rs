//! All clients of the process, as CLIENT LIST shows them and CLIENT KILL finds them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::acl::User;
use crate::command::{CommandId, all};
use crate::proxy::Tag;

/// An attack is logged at most this often, in nanoseconds.
const WARN_EVERY: u64 = 60_000_000_000;

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
    /// What its flags show: a bit for each [`Mark`].
    pub marks: AtomicU32,
    /// Who hears of changed keys in its place; 0: nobody, -1: it does not track.
    pub redirect: AtomicI64,
    /// Who it is.
    pub user: Mutex<Arc<User>>,
    /// Commands that wait for EXEC; -1: it is in no transaction.
    pub multi: AtomicI64,
    /// Bytes they take.
    pub multi_size: AtomicU64,
    /// The connection by which it waits for data.
    pub blocked: Mutex<Option<Arc<Tag>>>,
    /// Channels, patterns and shards it is subscribed to.
    pub subscriptions: [AtomicU32; 3],
    /// CLIENT SETNAME; empty: it has none. Printable ASCII, see [`is_label`].
    pub name: Mutex<Vec<u8>>,
}

/// A flag of CLIENT LIST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Mark {
    /// It monitors.
    Monitor,
    /// A pause holds it back.
    Postponed,
    /// It tracks keys.
    Tracking,
    /// Whom it redirects to has gone.
    BrokenRedirect,
    /// It hears of prefixes.
    Broadcast,
    /// CLIENT NO-EVICT.
    NoEvict,
}

impl ClientInfo {
    /// Sets or takes away a mark.
    pub fn mark(&self, mark: Mark, on: bool) {
        let bit = 1 << mark as u32;
        let before = self.marks.load(Relaxed);
        self.marks.store(if on { before | bit } else { before & !bit }, Relaxed);
    }

    /// Whether it has a mark.
    pub fn is_marked(&self, mark: Mark) -> bool {
        self.marks.load(Relaxed) & 1 << mark as u32 != 0
    }

    /// Notes a batch of commands.
    pub fn note(&self, now: u64, command: Option<CommandId>, commands: u64) {
        self.active.store(now, Relaxed);
        self.command.store(command.map_or(0, |c| c.index() as u32 + 1), Relaxed);
        self.commands.store(self.commands.load(Relaxed) + commands, Relaxed);
    }

    /// Whether it is subscribed to anything.
    pub fn is_subscribed(&self) -> bool {
        self.subscriptions.iter().any(|count| count.load(Relaxed) > 0)
    }

    /// In the order in which Redis shows them.
    fn flags(&self) -> String {
        let is = |mark| self.is_marked(mark);
        let all = [
            (is(Mark::Monitor), 'O'),
            (self.is_subscribed(), 'P'),
            (self.multi.load(Relaxed) >= 0, 'x'),
            (self.waits(), 'b'),
            (is(Mark::Tracking), 't'),
            (is(Mark::BrokenRedirect), 'R'),
            (is(Mark::Broadcast), 'B'),
            (is(Mark::NoEvict), 'e'),
        ];
        let set: String = all.iter().filter(|(on, _)| *on).map(|(_, letter)| *letter).collect();
        if set.is_empty() { "N".to_owned() } else { set }
    }

    /// Bytes it has the process hold: unfinished input and replies it has not taken.
    pub fn memory(&self) -> u64 {
        self.input.load(Relaxed) + self.output.load(Relaxed) + self.multi_size.load(Relaxed)
    }

    /// The line of CLIENT LIST, without its end: the fields of Redis 7.0 in their order. What strata has no
    /// counterpart for (the parts of Redis' buffers) is what an idle client shows.
    pub fn line(&self, now: u64) -> String {
        let seconds = |since: u64| now.saturating_sub(since) / 1_000_000_000;
        let (input, output) = (self.input.load(Relaxed), self.output.load(Relaxed));
        let [sub, psub, ssub] = [0, 1, 2].map(|space: usize| self.subscriptions[space].load(Relaxed));
        let command = (self.command.load(Relaxed) as usize)
            .checked_sub(1)
            .and_then(|index| all().get(index))
            .map_or("NULL", |c| c.name);
        format!(
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={sub} psub={psub} ssub={ssub} multi={} \
             qbuf={input} qbuf-free=0 argv-mem=0 multi-mem={} rbs=0 rbp=0 obl={output} oll=0 omem=0 tot-mem={} \
             events={} cmd={command} user={} redir={} resp={}",
            self.id,
            self.address,
            self.local,
            self.descriptor,
            String::from_utf8_lossy(&self.name.lock()),
            seconds(self.since),
            seconds(self.active.load(Relaxed)),
            self.flags(),
            self.db.load(Relaxed),
            self.multi.load(Relaxed),
            self.multi_size.load(Relaxed),
            self.memory(),
            if output > 0 { "rw" } else { "r" },
            String::from_utf8_lossy(self.user.lock().name()),
            self.redirect.load(Relaxed),
            self.proto.load(Relaxed),
        )
    }
}

impl ClientInfo {
    /// Whether it waits for data, or for the end of a pause.
    pub fn waits(&self) -> bool {
        self.is_marked(Mark::Postponed) || self.is_blocked()
    }

    /// Whether it waits for data.
    pub fn is_blocked(&self) -> bool {
        self.blocked.lock().is_some()
    }
}

/// Whether a client may call itself so: printable ASCII without spaces, as in Redis.
pub fn is_label(name: &[u8]) -> bool {
    name.iter().all(|b| (b'!'..=b'~').contains(b))
}

/// The register.
#[derive(Debug, Default)]
pub struct Clients {
    next: AtomicU64,
    all: Mutex<BTreeMap<u64, Arc<ClientInfo>>>,
    warned: AtomicU64,
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

    /// One client.
    pub fn get(&self, id: u64) -> Option<Arc<ClientInfo>> {
        self.all.lock().get(&id).cloned()
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

    /// Logs that a client speaks HTTP: a web page may have made a browser send commands.
    pub fn suspect(&self, client: &ClientInfo, now: u64) {
        let last = self.warned.load(Relaxed);
        if last == 0 || now.saturating_sub(last) > WARN_EVERY {
            self.warned.store(now, Relaxed);
            tracing::warn!(
                client = client.id,
                address = %client.address,
                "possible attack: somebody sends POST or Host: commands, as a browser would that was made to; connection closed"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::Users;

    fn client(id: u64) -> ClientInfo {
        ClientInfo {
            id,
            address: ([127, 0, 0, 1], 5000).into(),
            local: ([127, 0, 0, 1], 7379).into(),
            descriptor: 9,
            worker: 0,
            since: 1_000_000_000,
            active: AtomicU64::new(3_500_000_000),
            command: AtomicU32::new(0),
            commands: AtomicU64::new(0),
            db: AtomicU32::new(2),
            proto: AtomicU32::new(3),
            input: AtomicU64::new(10),
            output: AtomicU64::new(0),
            killed: AtomicBool::new(false),
            marks: AtomicU32::new(0),
            redirect: AtomicI64::new(-1),
            subscriptions: Default::default(),
            user: Mutex::new(Users::configured(&crate::config::Config::default()).unwrap().default_user()),
            multi: AtomicI64::new(-1),
            multi_size: AtomicU64::new(0),
            blocked: Mutex::default(),
            name: Mutex::new(b"me".to_vec()),
        }
    }

    #[test]
    fn a_line_is_one_of_redis() {
        let info = client(7);
        let line = "id=7 addr=127.0.0.1:5000 laddr=127.0.0.1:7379 fd=9 name=me age=4 idle=1 flags=N db=2 sub=0 psub=0 \
                    ssub=0 multi=-1 qbuf=10 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 \
                    tot-mem=10 events=r cmd=NULL user=default redir=-1 resp=3";
        assert_eq!(info.line(5_000_000_000), line);
        info.note(5_000_000_000, Some(crate::command::id::CLIENT_LIST), 1);
        info.mark(Mark::NoEvict, true);
        info.mark(Mark::Tracking, true);
        info.mark(Mark::Monitor, true);
        info.mark(Mark::Monitor, false);
        info.redirect.store(0, Relaxed);
        info.output.store(5, Relaxed);
        let line = info.line(5_000_000_000);
        assert!(
            line.contains(" idle=0 flags=te ")
                && line.contains(" obl=5 ")
                && line.contains(" tot-mem=15 events=rw cmd=client|list user=default redir=0 ")
        );
        info.subscriptions[1].store(2, Relaxed);
        assert!(info.is_subscribed());
        assert!(info.line(5_000_000_000).contains(" flags=Pte db=2 sub=0 psub=2 ssub=0 "));
    }

    #[test]
    fn clients_are_found_by_number() {
        let clients = Clients::default();
        let (a, b) = (clients.number(), clients.number());
        assert_eq!((a, b), (1, 2));
        clients.insert(Arc::new(client(b)));
        clients.insert(Arc::new(client(a)));
        assert_eq!(clients.list().iter().map(|c| c.id).collect::<Vec<_>>(), [1, 2]);
        clients.remove(a);
        assert!(clients.get(a).is_none() && clients.get(b).is_some());
    }

    #[test]
    fn labels_are_printable_ascii() {
        assert!(is_label(b"") && is_label(b"a-b:c~!"));
        assert!(!is_label(b"a b") && !is_label(b"a\n") && !is_label("é".as_bytes()));
    }
}
