//! CLIENT TRACKING NOLOOP: home tracks for the client, on a connection of its own.
//!
//! From the first CLIENT TRACKING that says NOLOOP until it is switched off, everything of the client goes by that
//! connection, past all copies, and home is told each CLIENT TRACKING and CACHING. So the client is told what Redis
//! would tell it. While there is no such connection its commands go as others do, what it reads is followed by its
//! invalidation, and it is told to drop everything once before and once after.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::tracking::Mode;
use super::{Core, Session};
use crate::clock;
use crate::command::{Access, Args, Command, KeyRef, extract};
use crate::proxy::{Client, LaneKey, Own, Proxy, Tracked};
use crate::resp::encode;
use crate::tier::listeners::Notice;

/// A connection that was lost is replaced after so long, and after ever longer if that fails.
pub(super) const PAUSE: Duration = Duration::from_millis(50);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A client for which home tracks.
pub(super) struct AtHome {
    /// Its connection; none while it is being replaced.
    tracked: Option<Tracked>,
    news: Rc<RefCell<News>>,
    /// Dropped it ends the task that listens.
    _ends: oneshot::Sender<()>,
}

/// What the task that listens has to say to its session.
#[derive(Default)]
struct News {
    /// What home is to be asked for when a connection is replaced.
    options: Vec<Box<[u8]>>,
    lane: Option<LaneKey>,
    change: Option<Change>,
}

enum Change {
    /// Home tracks by this connection from now on.
    Tracked(Tracked),
    /// By none.
    Lost,
    /// It does not at all.
    Refused,
}

impl AtHome {
    /// The connection, while there is one.
    pub(super) fn own(&self) -> Option<&Rc<Own>> {
        self.tracked.as_ref().map(|tracked| &tracked.own).filter(|own| !own.is_gone())
    }

    /// Whether a connection is that one.
    pub(super) fn is(&self, own: &Rc<Own>) -> bool {
        self.tracked.as_ref().is_some_and(|tracked| Rc::ptr_eq(&tracked.own, own))
    }
}

impl Session {
    /// Begins to track at home, or changes how. The reply follows.
    pub(super) fn track_at_home(&mut self, mode: Mode, prefixes: &[&[u8]]) {
        let here = self.core.tracking.get().is_some() && self.at_home.is_none();
        self.note_mode(mode, prefixes);
        let all: Vec<&[u8]> = self.prefixes.iter().map(|prefix| &**prefix).collect();
        let whole = options(mode, &all);
        match &self.at_home {
            Some(at_home) => {
                at_home.news.borrow_mut().options = whole;
                let tracked = at_home.tracked.clone();
                let proxy = self.context.proxy.clone();
                let change = options(mode, prefixes);
                self.reply_later(async move {
                    match tracked {
                        Some(tracked) => reply(proxy.track(&tracked, &refs(&change)).await),
                        // It will be asked for what is wanted by then.
                        None => reply(Ok(())),
                    }
                });
            }
            None => self.begin_at_home(whole, here && !mode.broadcast),
        }
    }

    /// `forgotten`: keys were remembered here that home does not know of.
    fn begin_at_home(&mut self, options: Vec<Box<[u8]>>, forgotten: bool) {
        let (ends, ended) = oneshot::channel();
        let news = News { options, lane: Some(self.lane), change: None };
        let news = Rc::new(RefCell::new(news));
        let (told, first) = oneshot::channel();
        let keeper = Keeper {
            news: news.clone(),
            proxy: self.context.proxy.clone(),
            core: self.core.clone(),
            lease: self.context.config.home().lease,
        };
        tokio::task::spawn_local(async move {
            tokio::select! {
                () = keeper.run(told) => {}
                _ = ended => {}
            }
        });
        self.at_home = Some(AtHome { tracked: None, news, _ends: ends });
        let core = self.core.clone();
        self.reply_later(async move {
            let result = first.await.unwrap_or_else(|_| Err("ERR the client is gone".to_owned()));
            if forgotten && result.is_ok() {
                core.tell_tracker(&Notice::All);
            }
            reply(result)
        });
    }

    /// Takes the connection that has come, or lets go of the one that was lost.
    pub(super) fn adopt_tracked(&mut self) {
        let Some(at_home) = &mut self.at_home else { return };
        at_home.news.borrow_mut().lane = Some(self.lane);
        let Some(change) = at_home.news.borrow_mut().change.take() else { return };
        let refused = matches!(change, Change::Refused);
        let next = match change {
            Change::Tracked(tracked) => Some(tracked),
            Change::Lost | Change::Refused => None,
        };
        let from = next.as_ref().map(|tracked| tracked.lane);
        let before = std::mem::replace(&mut at_home.tracked, next);
        if let Some(before) = before {
            self.let_go(before.own);
        }
        if refused {
            return self.untrack();
        }
        // What it has been told to remember here is home's from now on.
        self.leave_listeners();
        self.turning = true;
        let own = self.at_home.as_ref().and_then(AtHome::own).cloned();
        if let (Some(own), Some(from)) = (own, from) {
            self.take_along(&own, from);
        }
    }

    /// Home tracks no more.
    pub(super) fn untrack_at_home(&mut self) {
        if let Some(tracked) = self.at_home.take().and_then(|at_home| at_home.tracked) {
            self.let_go(tracked.own);
        }
    }

    fn let_go(&mut self, own: Rc<Own>) {
        own.send_aside(&[b"CLIENT", b"TRACKING", b"OFF"], clock::now());
        // Else it goes when what it is needed for is over.
        if !self.watches_by(&own) && !self.waits_by(&own) {
            self.context.proxy.give_back(own, false);
        }
        self.turning = true;
    }

    /// What is to be done about the keys of a command that is about to be sent: as
    /// [`remember_reads`](Session::remember_reads).
    pub(super) fn remember_at_home<A: Args + ?Sized>(
        &self,
        at_home: &AtHome,
        command: &Command,
        args: &A,
        keys: &mut Vec<KeyRef>,
    ) -> Option<Notice> {
        let mode = self.core.tracking.get()?;
        if let Some(own) = self.own().filter(|own| at_home.is(own)) {
            if mode.caching && Mode::reads(command) {
                let word: &[u8] = if mode.opt_in { b"YES" } else { b"NO" };
                own.send_aside(&[b"CLIENT", b"CACHING", word], clock::now());
            }
            return None;
        }
        extract(command, args, keys).ok().filter(|()| mode.wants(command))?;
        let names = keys.iter().filter(|k| !k.access.contains(Access::NOT_KEY));
        let names = names.filter_map(|k| args.arg(k.index as usize));
        let hears = |name: &[u8]| self.prefixes.iter().any(|prefix| name.starts_with(prefix));
        let names: Vec<&[u8]> = names.filter(|name| !mode.broadcast || hears(name)).collect();
        (!names.is_empty()).then(|| Notice::keys(&names))
    }
}

/// Keeps home tracking for a client.
struct Keeper {
    news: Rc<RefCell<News>>,
    proxy: Rc<Proxy>,
    core: Rc<Core>,
    lease: Duration,
}

impl Keeper {
    async fn run(self, told: oneshot::Sender<Result<(), String>>) {
        let client: Rc<dyn Client> = self.core.clone();
        let mut told = Some(told);
        let mut pause = PAUSE;
        loop {
            let (options, lane) = {
                let news = self.news.borrow();
                (news.options.clone(), news.lane)
            };
            let Some(lane) = lane else { return };
            let mut ear = match self.proxy.track_at_home(&client, lane, &refs(&options)).await {
                Ok((tracked, ear)) => {
                    // It may have been changed meanwhile.
                    if self.news.borrow().options != options {
                        continue;
                    }
                    self.say(Change::Tracked(tracked));
                    ear
                }
                Err(error) => {
                    if let Some(told) = told.take() {
                        self.say(Change::Refused);
                        // Who no longer waits is gone.
                        let _ = told.send(Err(error));
                        return;
                    }
                    tracing::debug!(error, "CLIENT TRACKING NOLOOP: no connection; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            };
            pause = PAUSE;
            match told.take() {
                Some(told) => drop(told.send(Ok(()))),
                None => self.core.tell_tracker(&Notice::All),
            }
            ear.hear(&self.proxy, self.lease).await;
            self.say(Change::Lost);
            self.core.tell_tracker(&Notice::All);
        }
    }

    fn say(&self, change: Change) {
        self.news.borrow_mut().change = Some(change);
        self.core.wake();
    }
}

/// What CLIENT TRACKING ON is told at home.
pub(super) fn options(mode: Mode, prefixes: &[&[u8]]) -> Vec<Box<[u8]>> {
    let words = [
        (mode.broadcast, &b"BCAST"[..]),
        (mode.opt_in, b"OPTIN"),
        (mode.opt_out, b"OPTOUT"),
        (mode.no_loop, b"NOLOOP"),
    ];
    let words = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word);
    // Every key begins with the empty prefix; home allows no other beside it, unless it comes later.
    let some = mode.broadcast && !prefixes.contains(&&b""[..]);
    let prefixes = prefixes.iter().filter(|_| some).flat_map(|prefix| [&b"PREFIX"[..], prefix]);
    words.chain(prefixes).map(Box::from).collect()
}

pub(super) fn refs(words: &[Box<[u8]>]) -> Vec<&[u8]> {
    words.iter().map(|word| &**word).collect()
}

pub(super) fn reply(result: Result<(), String>) -> Vec<u8> {
    let mut out = Vec::new();
    match result {
        Ok(()) => encode::simple(&mut out, "OK"),
        Err(error) => encode::error(&mut out, error),
    }
    out
}
