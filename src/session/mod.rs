//! One client: its requests in, its replies out, in order.
//!
//! A session is one task of its worker. A wake-up reads once into the worker's buffer, runs every command that is
//! complete ([`batch`]), and writes once. An idle session owns no buffer.

mod access;
mod attention;
mod batch;
pub mod clients;
mod dispatch;
mod elsewhere;
mod inside;
mod local;
mod masters;
mod monitor;
mod noloop;
mod parked;
mod pause;
mod pubsub;
mod queue;
mod replies;
mod room;
mod shown;
mod slow;
mod socket;
mod told;
mod tracking;
mod transaction;
mod unsettled;
mod vet;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context as Cx, Poll, Waker};

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::acl::Users;
use crate::config::Config;
use crate::proxy::{Client, Inbox, LaneKey, Message, Proxy, Revoked};
use crate::resp::{Limits, Proto, RequestParser};
use crate::tier::listeners::Notice;
use access::Access;
use clients::{ClientInfo, Clients};
use elsewhere::Elsewhere;
use masters::AtMasters;
use noloop::AtHome;
use parked::Parked;
use pubsub::Behind;
use queue::{Queue, Replay};
use replies::Replies;
use slow::Timings;
use tracking::{Deferred, Mode, PrefixSet};
use transaction::Watch;
use unsettled::Unsettled;

pub use batch::Scratch;

/// What the sessions of one worker share.
pub struct Context {
    /// The worker's proxy.
    pub proxy: Rc<Proxy>,
    /// All clients of the process.
    pub clients: Arc<Clients>,
    /// Who may do what.
    pub users: Arc<Users>,
    /// The configuration in force.
    pub config: Arc<Config>,
    /// Buffers of the session that is running.
    pub scratch: RefCell<Scratch>,
    /// The worker finishes: idle sessions end.
    pub draining: Cell<bool>,
    /// What the worker has been told.
    pub inbox: Inbox,
}

impl Context {
    /// Tells sessions of this worker what changed.
    pub fn pass_on(&self, notices: Vec<(u64, Notice)>) {
        for (session, notice) in notices {
            if let Some(client) = self.proxy.session(session) {
                client.notice(&notice);
            }
        }
    }

    /// Ends this worker's clients that hear what their user may no longer hear.
    pub fn cut_revoked(&self, revoked: &Revoked) {
        for client in self.clients.list().iter().filter(|client| client.worker == self.proxy.worker) {
            let of_user = client.user.lock().number() == revoked.user;
            if !of_user || !self.proxy.hears_other_than(client.id, &revoked.may) {
                continue;
            }
            match self.proxy.session(client.id).filter(|_| client.id == revoked.by) {
                Some(answered) => answered.close(),
                None => drop(self.end(client)),
            }
        }
    }

    /// Ends a client at once, of whichever worker; false if somebody else has.
    pub fn end(&self, client: &ClientInfo) -> bool {
        if client.killed.swap(true, Relaxed) {
            return false;
        }
        self.clients.remove(client.id);
        if let Some(inbox) = self.proxy.shared.inboxes.read().get(client.worker as usize) {
            // A worker that is gone has no clients.
            let _ = inbox.send(Message::Close(client.id));
        }
        true
    }
}

/// What replies need of a session.
struct Core {
    replies: RefCell<Replies>,
    unsettled: RefCell<Unsettled>,
    waker: RefCell<Option<Waker>>,
    woken: Cell<bool>,
    closing: Cell<bool>,
    /// A command takes its time; those behind it wait.
    busy: Cell<bool>,
    seen: Cell<u64>,
    /// Reads that L2 is asked for, of which it is not decided yet whether they go home.
    looking: Cell<u32>,
    /// CLIENT TRACKING; none: off.
    tracking: Cell<Option<Mode>>,
    /// The place of its OK: what changed before that is said is no news.
    tracking_since: Cell<u64>,
    /// What follows EXEC's reply, which is still to be made of home's.
    deferred: RefCell<Option<Deferred>>,
    timings: RefCell<Timings>,
    /// A subscriber that speaks RESP2: hardly any command is allowed.
    restricted: Cell<bool>,
    /// There was no room for a message: the session is to end.
    overrun: Cell<bool>,
    info: Arc<ClientInfo>,
    /// Home's reply to a transaction, of which the session makes EXEC's.
    executed: RefCell<Option<Bytes>>,
    elsewhere: RefCell<Elsewhere>,
    context: Rc<Context>,
}

/// What CLIENT REPLY says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum ReplyMode {
    #[default]
    On,
    Off,
    /// Silent for one command.
    Skip,
}

/// One client's state.
struct Session {
    context: Rc<Context>,
    core: Rc<Core>,
    client: Rc<dyn Client>,
    info: Arc<ClientInfo>,
    stream: TcpStream,
    parser: RequestParser,
    limits: Limits,
    /// Bytes of a command that is not complete, or that waits because too many replies are outstanding.
    input: Vec<u8>,
    /// Bytes that are still missing from the command at the start of `input`.
    need: usize,
    /// `input` may hold complete commands.
    paused: bool,
    lane: LaneKey,
    /// Since when it has been that one.
    lane_since: u64,
    /// Replies are due by the lane before this one: until they are here nothing may overtake what they answer.
    turning: bool,
    /// The replies that are due are of scripts, which have a lane of their own.
    on_scripts: bool,
    /// It may send commands: it has said who it is, or need not.
    authenticated: bool,
    access: Access,
    reply_mode: ReplyMode,
    /// CLIENT TRACKING BCAST: the prefixes it hears of.
    prefixes: PrefixSet,
    /// CLIENT TRACKING NOLOOP: home tracks for the client.
    at_home: Option<AtHome>,
    /// The same where home is a cluster.
    at_masters: Option<AtMasters>,
    monitoring: bool,
    /// L2 is asked for reads that the command that its input begins with must not overtake.
    behind_l2: bool,
    /// A pause holds back the command that its input begins with.
    held_back: bool,
    /// Something of the process wants every session to be attentive.
    alert: bool,
    /// The group that is run is one command, which may be left in the input.
    one_by_one: bool,
    /// It runs out when a subscriber has left much unread for too long.
    behind: Behind,
    /// It has run out for a client with replies to read: what it asks for is run all the same.
    hurried: bool,
    /// Commands go by way of [`Session::run_attentively`].
    attentive: bool,
    /// Between MULTI and EXEC.
    transaction: Option<Box<Queue>>,
    watch: Watch,
    /// A command that waits to be run, or for data; those behind it wait, too.
    parked: Option<Parked>,
    /// EXEC is under way; those behind it wait.
    replay: Option<Replay>,
    /// The client has sent its last byte.
    ended: bool,
}

/// Serves one client until either side ends it.
pub async fn serve(context: Rc<Context>, stream: TcpStream, info: Arc<ClientInfo>) {
    let number = info.id;
    let core = Rc::new(Core {
        replies: RefCell::default(),
        unsettled: RefCell::default(),
        waker: RefCell::default(),
        woken: Cell::new(false),
        closing: Cell::new(false),
        busy: Cell::new(false),
        seen: Cell::new(0),
        looking: Cell::new(0),
        tracking: Cell::new(None),
        tracking_since: Cell::new(u64::MAX),
        deferred: RefCell::default(),
        timings: RefCell::default(),
        restricted: Cell::new(false),
        overrun: Cell::new(false),
        info: info.clone(),
        executed: RefCell::default(),
        elsewhere: RefCell::default(),
        context: context.clone(),
    });
    let client: Rc<dyn Client> = core.clone();
    context.proxy.enter(number, client.clone());
    let server = &context.config.server;
    let access = Access::of_stranger(&context.users);
    let authenticated = access.open();
    *info.user.lock() = access.user().clone();
    let mut session = Session {
        limits: Limits { max_bulk: server.max_bulk, authenticated, ..Limits::default() },
        lane: LaneKey { proto: Proto::Resp2, db: context.config.home().database, scripts: false, of: 0 },
        lane_since: 0,
        turning: false,
        on_scripts: false,
        parser: RequestParser::new(),
        core,
        client,
        info,
        stream,
        input: Vec::new(),
        need: 0,
        paused: false,
        authenticated,
        access,
        reply_mode: ReplyMode::On,
        prefixes: PrefixSet::new(),
        at_home: None,
        at_masters: None,
        monitoring: false,
        behind_l2: false,
        held_back: false,
        alert: false,
        one_by_one: false,
        behind: None,
        hurried: false,
        attentive: false,
        transaction: None,
        watch: Watch::None,
        parked: None,
        replay: None,
        ended: false,
        context: context.clone(),
    };
    let end = poll_fn(|cx| session.poll(cx)).await;
    if let Err(e) = end {
        tracing::debug!(client = number, error = %e, "session ended");
    }
    session.untrack();
    session.end_monitoring();
    context.proxy.leave(number);
    context.clients.remove(number);
}

impl Session {
    fn poll(&mut self, cx: &mut Cx<'_>) -> Poll<io::Result<()>> {
        self.core.listen(cx);
        self.release_held();
        self.adopt_tracked();
        self.heed_masters();
        loop {
            if self.info.killed.load(Relaxed) {
                return Poll::Ready(Ok(()));
            }
            self.poll_parked(cx);
            let executed = self.core.executed.borrow_mut().take();
            if let Some(reply) = executed {
                self.run_replay(&reply);
            }
            self.write(cx)?;
            let waiting = self.core.replies.borrow().waiting();
            let done = waiting == 0 && self.core.replies.borrow().backlog() == 0;
            let over = self.core.closing.get() || self.ended && !self.paused;
            if done && (over || self.input.is_empty() && self.context.draining.get()) {
                return Poll::Ready(Ok(()));
            }
            if self.core.closing.get() {
                return Poll::Pending;
            }
            if self.must_wait() {
                self.paused |= !self.input.is_empty();
                return match &self.parked {
                    Some(parked) if parked.waits() && self.context.draining.get() => Poll::Ready(Ok(())),
                    Some(_) => self.poll_gone(cx),
                    None => Poll::Pending,
                };
            }
            if self.is_congested(cx) {
                return Poll::Pending;
            }
            if self.paused {
                self.paused = false;
                self.run_input();
                continue;
            }
            if self.ended {
                return Poll::Pending;
            }
            match self.read(cx) {
                Poll::Pending => {
                    let mut scratch = self.context.scratch.borrow_mut();
                    self.core.replies.borrow_mut().give_back(&mut scratch.spare);
                    return Poll::Pending;
                }
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) => {}
            }
        }
    }
}
