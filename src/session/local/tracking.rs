//! CLIENT TRACKING, CACHING, TRACKINGINFO and GETREDIR.

use std::time::Duration;

use bytes::Bytes;

use super::{NOT_AN_INTEGER, SYNTAX, c_string};
use crate::clock;
use crate::proxy::Proxy;
use crate::resp::{Request, encode, parse_i64};
use crate::session::Session;
use crate::session::local::client::on_or_off;
use crate::session::tracking::{Mode, PrefixSet};

const NOT_TRACKING: &str = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled";
const NO_BROADCAST: &str = "ERR PREFIX option requires BCAST mode to be enabled";
const OTHER_BROADCAST: &str = "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.";
const BROADCAST_CHOICE: &str = "ERR OPTIN and OPTOUT are not compatible with BCAST";
const TWO_CHOICES: &str = "ERR You can't specify both OPTIN mode and OPTOUT mode";
const OTHER_CHOICE: &str = "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.";
/// The guard is asked this often whether it is there.
const LOOK: Duration = Duration::from_millis(1);

/// What the words of CLIENT TRACKING ask for.
#[derive(Default)]
struct Options<'a> {
    mode: Mode,
    prefixes: Vec<&'a [u8]>,
}

impl Session {
    pub(super) fn client_tracking(&mut self, request: &Request<'_>) {
        let options = match self.tracking_options(request) {
            Ok(options) => options,
            Err(error) => return self.reply_error(error),
        };
        match on_or_off(request.arg(2)) {
            Some(true) => match self.check_tracking(&options) {
                Ok(()) => {
                    let before = self.core.tracking.get();
                    let caching = before.is_some_and(|mode| mode.caching);
                    let mode = Mode { caching, ..options.mode };
                    let by_home = mode.no_loop || self.at_home.is_some() || self.at_masters.is_some();
                    match self.context.proxy.is_cluster() {
                        true if by_home => return self.track_at_masters(mode, &options.prefixes),
                        false if by_home => return self.track_at_home(mode, &options.prefixes),
                        _ => {}
                    }
                    self.track(mode, &options.prefixes);
                    if before.is_some() { self.ok() } else { self.ok_once_covered() }
                }
                Err(error) => self.reply_error(error),
            },
            Some(false) => {
                self.untrack();
                self.ok();
            }
            None => self.reply_error(SYNTAX),
        }
    }

    /// Options are checked even if tracking is switched off.
    fn tracking_options<'a>(&self, request: &Request<'a>) -> Result<Options<'a>, &'static str> {
        let mut options = Options::default();
        let mut redirect = 0;
        let mut i = 3;
        while let Some(option) = request.arg(i) {
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            let mode = &mut options.mode;
            match request.arg(i + 1) {
                Some(value) if is("redirect") => {
                    if redirect != 0 {
                        return Err("ERR A client can only redirect to a single other client");
                    }
                    redirect = parse_i64(value).ok_or(NOT_AN_INTEGER)?;
                    let target = u64::try_from(redirect).ok().and_then(|n| self.context.clients.get(n));
                    mode.redirect = target.ok_or("ERR The client ID you want redirect to does not exist")?.id;
                    i += 1;
                }
                Some(value) if is("prefix") => {
                    options.prefixes.push(value);
                    i += 1;
                }
                _ if is("bcast") => mode.broadcast = true,
                _ if is("optin") => mode.opt_in = true,
                _ if is("optout") => mode.opt_out = true,
                _ if is("noloop") => mode.no_loop = true,
                _ => return Err(SYNTAX),
            }
            i += 1;
        }
        Ok(options)
    }

    /// Whether the options go with each other and with how the client tracks now.
    fn check_tracking(&self, options: &Options<'_>) -> Result<(), Vec<u8>> {
        let (mode, before) = (options.mode, self.core.tracking.get());
        if !mode.broadcast && !options.prefixes.is_empty() {
            return Err(NO_BROADCAST.into());
        }
        if before.is_some_and(|b| b.broadcast != mode.broadcast) {
            return Err(OTHER_BROADCAST.into());
        }
        if mode.broadcast && (mode.opt_in || mode.opt_out) {
            return Err(BROADCAST_CHOICE.into());
        }
        if mode.opt_in && mode.opt_out {
            return Err(TWO_CHOICES.into());
        }
        if before.is_some_and(|b| mode.opt_in && b.opt_out || mode.opt_out && b.opt_in) {
            return Err(OTHER_CHOICE.into());
        }
        check_prefixes(&self.prefixes, &options.prefixes)
    }

    /// A client that tracks may read the moment it is told OK. From then on everything that changes has to reach it,
    /// so the guard is waited for, and for what it was busy with when the client was entered, of which it hears
    /// nothing. In vain if home is away: then the client is told behind each reply that it is not valid.
    fn ok_once_covered(&mut self) {
        let slot = self.open();
        self.core.tracking_since.set(slot);
        self.turning = true;
        let (proxy, client) = (self.context.proxy.clone(), self.client.clone());
        let patience = self.context.config.home().connect_timeout;
        tokio::task::spawn_local(async move {
            let _ = tokio::time::timeout(patience, coverage(&proxy)).await;
            proxy.once_confirmed(client, slot, Bytes::from_static(b"+OK\r\n"));
        });
    }

    pub(super) fn client_caching(&self, request: &Request<'_>) {
        let word = request.arg(2).unwrap_or_default();
        let Some(mode) = self.core.tracking.get() else {
            return self.reply_error(NOT_TRACKING);
        };
        let (yes, no) = (word.eq_ignore_ascii_case(b"yes"), word.eq_ignore_ascii_case(b"no"));
        if yes && !mode.opt_in {
            let text = "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.";
            return self.reply_error(text);
        }
        if no && !mode.opt_out {
            let text = "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.";
            return self.reply_error(text);
        }
        if !yes && !no {
            return self.reply_error(SYNTAX);
        }
        self.core.tracking.set(Some(Mode { caching: true, ..mode }));
        self.ok();
    }

    pub(super) fn client_get_redirect(&self) {
        self.say(|out, _| encode::integer(out, self.redirect_shown()));
    }

    fn redirect_shown(&self) -> i64 {
        self.core.tracking.get().map_or(-1, |mode| i64::try_from(mode.redirect).unwrap_or(i64::MAX))
    }

    pub(super) fn client_tracking_info(&self) {
        let mode = self.core.tracking.get();
        let is = mode.unwrap_or_default();
        let flags = [
            (true, if mode.is_some() { "on" } else { "off" }),
            (is.broadcast, "bcast"),
            (is.opt_in, "optin"),
            (is.opt_in && is.caching, "caching-yes"),
            (is.opt_out, "optout"),
            (is.opt_out && is.caching, "caching-no"),
            (is.no_loop, "noloop"),
            (is.broken, "broken_redirect"),
        ];
        let flags: Vec<&str> = flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        self.say(|out, proto| {
            encode::map(out, proto, 3);
            encode::bulk(out, b"flags");
            encode::set(out, proto, flags.len());
            flags.iter().for_each(|flag| encode::bulk(out, flag.as_bytes()));
            encode::bulk(out, b"redirect");
            encode::integer(out, self.redirect_shown());
            encode::bulk(out, b"prefixes");
            encode::array(out, self.prefixes.len());
            self.prefixes.iter().for_each(|prefix| encode::bulk(out, prefix));
        });
    }
}

/// Waits until changes are announced.
async fn coverage(proxy: &Proxy) {
    while !proxy.shared.listeners.covered(clock::now()) {
        tokio::time::sleep(LOOK).await;
    }
}

/// No two prefixes of a client may be told of the same key.
///
/// Redis goes on after this error if it is not about the first of them, and replies twice.
fn check_prefixes(present: &PrefixSet, wanted: &[&[u8]]) -> Result<(), Vec<u8>> {
    let meet = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    for (i, prefix) in wanted.iter().enumerate() {
        let existing = present.iter().find(|p| meet(p, prefix)).map(|p| ("an existing", &**p));
        let provided = wanted[i + 1..].iter().find(|p| meet(p, prefix)).map(|p| ("another provided", *p));
        if let Some((which, other)) = existing.or(provided) {
            let text: [&[u8]; 7] = [
                b"ERR Prefix '",
                c_string(prefix),
                b"' overlaps with ",
                which.as_bytes(),
                b" prefix '",
                c_string(other),
                b"'. Prefixes for a single client must not overlap.",
            ];
            return Err(text.concat());
        }
    }
    Ok(())
}
