//! Sockets with the options that transparent proxying needs.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hauberk_config::cluster::TcpKeepalive;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

/// Connections that the kernel keeps for us between two `accept`s.
const BACKLOG: i32 = 4096;

/// A listening TCP socket. Several workers may listen on one address: the kernel shares connections out among them.
///
/// `transparent`: connections to any address are taken (`IP_TRANSPARENT`, needs `CAP_NET_ADMIN`); the address that the
/// caller meant is then the accepted socket's local address.
///
/// # Errors
/// What the kernel says.
pub fn listen(address: SocketAddr, transparent: bool) -> io::Result<TcpListener> {
    let socket = bound(address, transparent, Type::STREAM, Protocol::TCP)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A bound UDP socket.
///
/// # Errors
/// What the kernel says.
pub fn bind_udp(address: SocketAddr, transparent: bool) -> io::Result<UdpSocket> {
    UdpSocket::from_std(bound(address, transparent, Type::DGRAM, Protocol::UDP)?.into())
}

fn bound(
    address: SocketAddr,
    transparent: bool,
    kind: Type,
    protocol: Protocol,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        // Each version of IP has a socket of its own: no IPv4 caller comes in disguise.
        socket.set_only_v6(true)?;
    }
    if transparent {
        // One flag of the kernel's for both versions of IP, whose name is the first one's.
        socket.set_ip_transparent_v4(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Where an upstream connection comes from, as its peer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Origin {
    /// For endpoints of its own version of IP. Bound with `IP_TRANSPARENT`, so that it need not be an address of this
    /// network namespace.
    pub address: Option<IpAddr>,
    /// The same, for endpoints of the other version.
    pub other: Option<IpAddr>,
    /// `SO_MARK`; 0: none.
    pub mark: u32,
}

impl Origin {
    /// What a socket toward `destination` is bound to.
    fn toward(&self, destination: SocketAddr) -> Option<IpAddr> {
        [self.address, self.other]
            .into_iter()
            .flatten()
            .find(|address| address.is_ipv4() == destination.is_ipv4())
    }
}

/// A SYN that nobody answered is sent again after this long, while the kernel waits for a second: a proxy that was killed
/// is back before that, and its pod's callers need not wait.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How often, before the kernel's own repetitions are relied on.
const ASK_AGAIN_TIMES: usize = 4;

/// Connects to `destination`, giving up after `timeout`.
///
/// # Errors
/// `TimedOut` after `timeout`, else what the kernel says.
pub async fn connect(
    destination: SocketAddr,
    origin: Origin,
    keepalive: Option<TcpKeepalive>,
    timeout: Duration,
) -> io::Result<TcpStream> {
    tokio::time::timeout(timeout, persistently(destination, origin, keepalive))
        .await
        .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))?
}

/// The first attempt goes on beside the others: its answer may only be slow.
async fn persistently(
    destination: SocketAddr,
    origin: Origin,
    keepalive: Option<TcpKeepalive>,
) -> io::Result<TcpStream> {
    let mut first = std::pin::pin!(attempt(destination, origin, keepalive));
    if let Ok(done) = tokio::time::timeout(ASK_AGAIN, &mut first).await {
        return done;
    }
    for _ in 0..ASK_AGAIN_TIMES {
        let another = attempt(destination, origin, keepalive);
        tokio::select! {
            done = &mut first => return done,
            done = tokio::time::timeout(ASK_AGAIN, another) => if let Ok(done) = done {
                return done;
            }
        }
    }
    first.await
}

async fn attempt(
    destination: SocketAddr,
    origin: Origin,
    keepalive: Option<TcpKeepalive>,
) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(destination),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if origin.mark != 0 {
        socket.set_mark(origin.mark)?;
    }
    if let Some(keepalive) = keepalive {
        set_keepalive(&socket, keepalive)?;
    }
    if let Some(address) = origin.toward(destination) {
        if address != IpAddr::V4(Ipv4Addr::LOCALHOST) {
            socket.set_ip_transparent_v4(true)?;
        }

        // The port is chosen at connect, when the whole 4-tuple is known: more than 64 k connections fit.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::new(address, 0).into())?;
    }
    TcpSocket::from_std_stream(socket.into())
        .connect(destination)
        .await
}

fn set_keepalive(socket: &Socket, keepalive: TcpKeepalive) -> io::Result<()> {
    let mut options = socket2::TcpKeepalive::new();
    if let Some(time) = keepalive.time {
        options = options.with_time(time);
    }
    if let Some(interval) = keepalive.interval {
        options = options.with_interval(interval);
    }
    if let Some(probes) = keepalive.probes {
        options = options.with_retries(probes);
    }
    socket.set_tcp_keepalive(&options)
}
