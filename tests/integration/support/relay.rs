//! A relay in front of a server, for what a network does and a server can't be made to do: connections that are cut, that
//! fall silent in one direction while they stay open, or that are slow.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::Endpoint;
use super::client::Stream;

/// What the proxy uses a connection for, as the first words on it tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Anything that is none of the others, and every connection until it has told.
    Other = 0,
    /// The connection that hears of changes.
    Guard = 1,
    /// Lanes of RESP2.
    Lane2 = 2,
    /// Lanes of RESP3.
    Lane3 = 3,
}

impl Part {
    pub(crate) const ALL: [Part; 4] = [Part::Other, Part::Guard, Part::Lane2, Part::Lane3];

    /// The name comes last in the opening conversation, behind the protocol.
    fn told(self, request: &[u8]) -> Part {
        let says = |word: &[u8]| request.windows(word.len()).any(|w| w == word);
        let resp3 = says(b"HELLO") || self == Part::Lane3;
        match self {
            Part::Guard | Part::Lane2 => self,
            _ if says(b"strata-guard") => Part::Guard,
            _ if resp3 => Part::Lane3,
            _ if says(b"strata-lane") => Part::Lane2,
            _ => self,
        }
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client to the server.
    Requests,
    /// From the server to the client.
    Replies,
}

#[derive(Default)]
struct State {
    refusing: bool,
    closed: bool,
    /// By part, then direction.
    stalled: [[bool; 2]; 4],
    delay: [Duration; 4],
    /// Chunks that came in to be passed on.
    chunks: [[u64; 2]; 4],
    open: Vec<Connection>,
    accepted: u64,
}

/// Both ends of a connection that is open, and what it is for.
struct Connection {
    number: u64,
    part: Part,
    ends: [Stream; 2],
    /// By direction: this one alone.
    stalled: [bool; 2],
}

impl State {
    fn part(&self, number: u64) -> Part {
        self.open.iter().find(|c| c.number == number).map_or(Part::Other, |c| c.part)
    }

    fn is_stalled(&self, number: u64, direction: Direction) -> bool {
        let own = self.open.iter().find(|c| c.number == number);
        self.stalled[self.part(number) as usize][direction as usize]
            || own.is_some_and(|c| c.stalled[direction as usize])
    }

    fn listen(&mut self, number: u64, request: &[u8]) {
        if let Some(connection) = self.open.iter_mut().find(|c| c.number == number) {
            connection.part = connection.part.told(request);
        }
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens on 127.0.0.1 and passes bytes on to one server. Dropping it ends its connections.
pub(crate) struct Relay {
    endpoint: Endpoint,
    shared: Arc<Shared>,
}

impl Relay {
    pub(crate) fn start(server: &Endpoint) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let endpoint = Endpoint::Tcp(listener.local_addr().expect("a bound socket has an address"));
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let (server, for_thread) = (server.clone(), Arc::clone(&shared));
        thread::spawn(move || accept(&listener, &server, &for_thread));
        Relay { endpoint, shared }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.shared.state().accepted
    }

    /// Chunks that came in so far, whether they have been passed on or are held.
    pub(crate) fn chunks(&self, part: Part, direction: Direction) -> u64 {
        self.shared.state().chunks[part as usize][direction as usize]
    }

    /// Ends every open connection. New ones are welcome.
    pub(crate) fn cut(&self) {
        Part::ALL.iter().for_each(|part| self.cut_part(*part));
    }

    /// Ends the open connections of one part.
    pub(crate) fn cut_part(&self, part: Part) {
        for connection in self.shared.state().open.extract_if(.., |c| c.part == part) {
            connection.ends.iter().for_each(Stream::shutdown);
        }
        self.shared.changed.notify_all();
    }

    /// While true, a new connection is closed as soon as it is accepted. Open ones are left alone.
    pub(crate) fn refuse(&self, refusing: bool) {
        self.shared.state().refusing = refusing;
    }

    /// While true, nothing goes this way, on connections old and new; all stay open. Held bytes go on when it ends.
    pub(crate) fn stall(&self, direction: Direction, stalled: bool) {
        Part::ALL.iter().for_each(|part| self.stall_part(*part, direction, stalled));
    }

    /// The same for the connections of one part.
    pub(crate) fn stall_part(&self, part: Part, direction: Direction, stalled: bool) {
        self.shared.state().stalled[part as usize][direction as usize] = stalled;
        self.shared.changed.notify_all();
    }

    /// From now on nothing goes either way on those open connections of the proxy that `chosen` picks; they stay open
    /// until they are cut. New ones are not concerned.
    #[allow(dead_code, reason = "for the history checker")]
    pub(crate) fn abandon(&self, mut chosen: impl FnMut() -> bool) {
        for connection in self.shared.state().open.iter_mut().filter(|c| c.part != Part::Other) {
            connection.stalled = [chosen(); 2];
        }
    }

    /// Holds every chunk for this long, both ways.
    pub(crate) fn delay(&self, delay: Duration) {
        Part::ALL.iter().for_each(|part| self.delay_part(*part, delay));
    }

    /// The same for the connections of one part.
    pub(crate) fn delay_part(&self, part: Part, delay: Duration) {
        self.shared.state().delay[part as usize] = delay;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            state.closed = true;
            state.stalled = [[false; 2]; 4];
            state.open.iter_mut().for_each(|connection| connection.stalled = [false; 2]);
        }
        self.cut();
        // Wakes the thread that accepts, so that it sees the end.
        let _ = self.endpoint.open();
    }
}

fn accept(listener: &TcpListener, server: &Endpoint, shared: &Arc<Shared>) {
    for client in listener.incoming().flatten() {
        let _ = client.set_nodelay(true);
        let client = Stream::Tcp(client);
        {
            let mut state = shared.state();
            if state.closed {
                return;
            }
            state.accepted += 1;
            if state.refusing {
                continue;
            }
        }
        // A server that is down looks through the relay like one that hangs up at once.
        if let Ok(server) = server.open() {
            let _ = connect(client, server, shared);
        }
    }
}

fn connect(client: Stream, server: Stream, shared: &Arc<Shared>) -> std::io::Result<()> {
    let number = {
        let mut state = shared.state();
        let (number, ends) = (state.accepted, [client.try_clone()?, server.try_clone()?]);
        state.open.push(Connection { number, part: Part::Other, ends, stalled: [false; 2] });
        number
    };
    let ways = [
        (Direction::Requests, client.try_clone()?, server.try_clone()?),
        (Direction::Replies, server, client),
    ];
    for (direction, from, to) in ways {
        let shared = Arc::clone(shared);
        thread::spawn(move || pass(number, direction, from, to, &shared));
    }
    Ok(())
}

/// Passes bytes one way until either end closes, then closes both.
fn pass(number: u64, direction: Direction, mut from: Stream, mut to: Stream, shared: &Shared) {
    let mut chunk = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut chunk) {
        let mut state = shared.state();
        if direction == Direction::Requests {
            state.listen(number, &chunk[..count]);
        }
        let part = state.part(number) as usize;
        state.chunks[part][direction as usize] += 1;
        while state.is_stalled(number, direction) && count > 0 {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let delay = state.delay[state.part(number) as usize];
        drop(state);
        thread::sleep(delay);
        if count == 0 || to.write_all(&chunk[..count]).is_err() {
            break;
        }
    }
    from.shutdown();
    to.shutdown();
    shared.state().open.retain(|c| c.number != number);
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Instant;

    use super::super::{Client, RedisServer, Value};
    use super::*;

    fn pong() -> Value {
        Value::Simple("PONG".into())
    }

    #[test]
    fn a_cut_ends_connections_and_a_refusal_keeps_new_ones_out() {
        let redis = RedisServer::start(&[]);
        let relay = Relay::start(&redis.unix());
        let mut client = Client::connect(&relay.endpoint()).unwrap();
        assert_eq!(client.call(&["PING"]).unwrap(), pong());
        relay.refuse(true);
        assert_eq!(client.call(&["PING"]).unwrap(), pong());
        relay.cut();
        assert!(client.call(&["PING"]).is_err());
        assert!(Client::connect(&relay.endpoint()).and_then(|mut client| client.call(&["PING"])).is_err());
        relay.refuse(false);
        assert_eq!(Client::connect(&relay.endpoint()).unwrap().call(&["PING"]).unwrap(), pong());
        assert_eq!(relay.accepted(), 3);
    }

    #[test]
    fn a_stall_is_silent_one_way_only_and_delivers_when_it_ends() {
        let redis = RedisServer::start(&[]);
        let relay = Relay::start(&redis.tcp());
        let mut client = Client::connect(&relay.endpoint()).unwrap();
        client.set_patience(Duration::from_millis(30));
        relay.stall(Direction::Replies, true);
        assert_eq!(client.call(&["SET", "k", "v"]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(redis.connect().call(&["GET", "k"]).unwrap(), Value::Bulk(b"v".to_vec()));
        client.set_patience(Duration::from_secs(5));
        relay.stall(Direction::Replies, false);
        assert_eq!(client.read().unwrap(), Value::Simple("OK".into()));

        relay.stall(Direction::Requests, true);
        client.send_raw(b"DEL k\r\n").unwrap();
        thread::sleep(Duration::from_millis(30));
        assert_eq!(redis.connect().call(&["EXISTS", "k"]).unwrap(), Value::Integer(1));
        relay.cut();
        relay.stall(Direction::Requests, false);
        assert!(client.read().is_err());
    }

    #[test]
    fn a_delay_holds_both_ways() {
        let redis = RedisServer::start(&[]);
        let relay = Relay::start(&redis.unix());
        let mut client = Client::connect(&relay.endpoint()).unwrap();
        relay.delay(Duration::from_millis(40));
        let start = Instant::now();
        assert_eq!(client.call(&["PING"]).unwrap(), pong());
        assert!(start.elapsed() >= Duration::from_millis(80));
    }
}
