//! A TCP proxy that a test puts between two programs, to cut and to stall their connections: what happens to them in the
//! world. Forwards bytes and knows no protocol.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Connections at a time; one more is closed at once.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may take to come.
const CONNECTION_WAIT: Duration = Duration::from_secs(60);
/// Read at a time.
const CHUNK_BYTES: usize = 16 * 1024;

/// A running proxy. Its connections and threads end when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    target: Mutex<SocketAddr>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_ended: bool,
    is_stalled: bool,
    /// How many more connections pass, if later ones are held, and how many bytes of those go to clients.
    holds_after: Option<(usize, usize)>,
    /// The bytes that still go to the client of each connection that is to be held.
    held: BTreeMap<u64, usize>,
    /// Bytes that still go to clients before everything is cut.
    left_bytes: Option<usize>,
    /// Both ends, by number.
    connections: BTreeMap<u64, [TcpStream; 2]>,
    /// How often something was cut.
    cuts: u64,
}

impl Proxy {
    /// Listens on a free port of this machine, and connects to `target` for each client.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = shared.clone();
        let acceptor = thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || accepting.accept(&listener))
            .expect("a thread can be started");
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connects clients that come from now on to another server, as a name does after a failover.
    pub fn point_to(&self, target: SocketAddr) {
        *self.shared.target.lock().expect("nobody panics with the lock") = target;
    }

    /// Returns when there are so many connections.
    ///
    /// # Panics
    /// If there are not after a minute.
    pub fn wait_for_connections(&self, count: usize) {
        let missing = |state: &mut State| state.connections.len() < count;
        let waited = self
            .shared
            .changed
            .wait_timeout_while(self.shared.state(), CONNECTION_WAIT, missing);
        let (state, waited) = waited.expect("nobody panics with the lock");
        assert!(!waited.timed_out(), "{} connections", state.connections.len());
    }

    /// Closes every connection there is.
    pub fn cut(&self) {
        Shared::cut(&mut self.shared.state());
    }

    /// Closes every connection when so many more bytes have gone to clients: in the middle of a message, as a rule.
    pub fn cut_after(&self, bytes: usize) {
        self.shared.state().left_bytes = Some(bytes);
    }

    /// Lets no more bytes pass, in neither direction, and closes nothing.
    pub fn stall(&self) {
        self.shared.state().is_stalled = true;
    }

    /// Lets so many more connections pass. Those that come later are made, but none of their bytes pass any more once about so
    /// many have gone to the client.
    pub fn hold_after(&self, connections: usize, bytes: usize) {
        self.shared.state().holds_after = Some((connections, bytes));
    }

    /// Returns when a connection is being held.
    ///
    /// # Panics
    /// If none is after a minute.
    pub fn wait_for_held(&self) {
        let missing = |state: &mut State| state.held.values().all(|left| *left > 0);
        let waited = self
            .shared
            .changed
            .wait_timeout_while(self.shared.state(), CONNECTION_WAIT, missing);
        let (state, waited) = waited.expect("nobody panics with the lock");
        assert!(
            !waited.timed_out(),
            "{} connections, none is held",
            state.connections.len()
        );
    }

    /// Lets bytes and connections pass again.
    pub fn resume(&self) {
        let mut state = self.shared.state();
        state.is_stalled = false;
        state.holds_after = None;
        state.held.clear();
        drop(state);
        self.shared.changed.notify_all();
    }

    /// How often connections that were there have been cut.
    pub fn cuts(&self) -> u64 {
        self.shared.state().cuts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_ended = true;
        Shared::cut(&mut state);
        drop(state);
        self.shared.changed.notify_all();
        // It waits for a client.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            // A test that fails already needs no second panic.
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the lock")
    }

    fn cut(state: &mut State) {
        state.left_bytes = None;
        state.held.clear();
        state.cuts += u64::from(!state.connections.is_empty());
        for end in std::mem::take(&mut state.connections).into_values().flatten() {
            // The other side may have closed it.
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    fn target(&self) -> SocketAddr {
        *self.target.lock().expect("nobody panics with the lock")
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        let mut pumps: Vec<JoinHandle<()>> = Vec::new();
        for (number, client) in (0..).zip(listener.incoming()) {
            if self.state().is_ended {
                break;
            }
            pumps.retain(|pump| !pump.is_finished());
            if let Ok(client) = client
                && pumps.len() < 2 * CONNECTIONS_MAX
                && let Ok(server) = TcpStream::connect(self.target())
            {
                // Without descriptors left there is no connection, like beyond the limit.
                pumps.extend(self.connect(number, client, server).into_iter().flatten());
            }
        }
        for pump in pumps {
            let _ = pump.join();
        }
    }

    fn connect(
        self: &Arc<Self>,
        number: u64,
        client: TcpStream,
        server: TcpStream,
    ) -> std::io::Result<[JoinHandle<()>; 2]> {
        // Small messages pass as they came.
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let ends = [client.try_clone()?, server.try_clone()?];
        let back = (server.try_clone()?, client.try_clone()?);
        let mut state = self.state();
        if state.is_ended {
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        state.connections.insert(number, ends);
        match &mut state.holds_after {
            Some((0, bytes)) => {
                let bytes = *bytes;
                state.held.insert(number, bytes);
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        drop(state);
        self.changed.notify_all();
        let pump = |from, to, to_client| {
            let shared = self.clone();
            thread::spawn(move || shared.pump(number, from, to, to_client))
        };
        Ok([pump(client, server, false), pump(back.0, back.1, true)])
    }

    /// Forwards one direction until either side closes; then both are closed.
    fn pump(&self, number: u64, mut from: TcpStream, mut to: TcpStream, to_client: bool) {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            let passing = self.pass(number, count, to_client);
            if to.write_all(&chunk[..passing]).is_err() {
                break;
            }
            if passing < count {
                Self::cut(&mut self.state());
                break;
            }
        }
        for end in [from, to] {
            let _ = end.shutdown(Shutdown::Both);
        }
        let mut state = self.state();
        state.connections.remove(&number);
        state.held.remove(&number);
    }

    /// Waits until bytes may pass; gives how many of `count`.
    fn pass(&self, number: u64, count: usize, to_client: bool) -> usize {
        let state = self.state();
        let waits =
            |state: &mut State| (state.is_stalled || state.held.get(&number) == Some(&0)) && !state.is_ended;
        let waited = self.changed.wait_while(state, waits);
        let mut state = waited.expect("nobody panics with the lock");
        if let Some(left) = state.held.get_mut(&number).filter(|_| to_client) {
            *left = left.saturating_sub(count);
            self.changed.notify_all();
        }
        match &mut state.left_bytes {
            Some(left) if to_client => {
                let passing = count.min(*left);
                *left -= passing;
                passing
            }
            _ => count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::free_address;

    /// A server that sends back what it gets, for one client.
    fn echo() -> SocketAddr {
        let address = free_address();
        let listener = TcpListener::bind(address).unwrap();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || std::io::copy(&mut &client, &mut &client));
            }
        });
        address
    }

    #[test]
    fn bytes_pass_and_wait_while_it_is_stalled() {
        let proxy = Proxy::start(echo());
        let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        let mut answer = [0; 4];
        client.write_all(b"ping").unwrap();
        client.read_exact(&mut answer).unwrap();
        proxy.stall();
        client.write_all(b"pong").unwrap();
        client.set_nonblocking(true).unwrap();
        assert!(client.read(&mut answer).is_err());
        client.set_nonblocking(false).unwrap();
        proxy.resume();
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"pong");
    }

    #[test]
    fn connections_that_come_later_can_be_held() {
        let proxy = Proxy::start(echo());
        let connect = || TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        proxy.hold_after(1, 0);
        let (mut first, mut second) = (connect(), connect());
        proxy.wait_for_held();
        let mut answer = [0; 4];
        second.write_all(b"late").unwrap();
        first.write_all(b"soon").unwrap();
        first.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"soon");
        second.set_nonblocking(true).unwrap();
        assert!(second.read(&mut answer).is_err());
        second.set_nonblocking(false).unwrap();
        proxy.resume();
        second.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"late");
    }

    #[test]
    fn a_cut_closes_what_is_there_and_lets_others_connect() {
        let proxy = Proxy::start(echo());
        let connect = || TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        let mut client = connect();
        proxy.cut_after(6);
        client.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        client.write_all(b"pong").unwrap();
        let mut rest = Vec::new();
        // What it ends with is up to the machine: the end, or a reset.
        let _ = client.read_to_end(&mut rest);
        assert!(rest.len() <= 2, "{rest:?}");
        assert_eq!(proxy.cuts(), 1);
        let mut client = connect();
        client.write_all(b"pang").unwrap();
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"pang");
    }
}
