//! Serving DNS over UDP and TCP.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, UdpSocket};

use crate::dns_message::Carrier;
use crate::socket;

const LONGEST_QUERY: usize = 4096;
/// A TCP client that says nothing for this long is dropped.
const TCP_IDLE: Duration = Duration::from_secs(10);

/// Answers datagrams on `socket` for ever. `respond` gives the answer to a query, or `None` for silence.
///
/// A query that TPROXY led here is answered from the address that the client asked.
///
/// # Errors
/// Those of the socket itself; what goes wrong with one query is only logged.
pub async fn serve_udp(
    socket: UdpSocket,
    respond: impl Fn(&[u8], Carrier) -> Option<Vec<u8>>,
) -> io::Result<()> {
    if socket.local_addr()?.is_ipv4() {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        setsockopt(&socket, sockopt::Ipv4OrigDstAddr, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        setsockopt(&socket, sockopt::Ipv6OrigDstAddr, &true)?;
    }
    let port = socket.local_addr()?.port();
    let mut buffer = vec![0; LONGEST_QUERY];
    loop {
        socket.readable().await?;
        let received = socket.try_io(Interest::READABLE, || receive(&socket, &mut buffer));
        let (length, client, asked) = match received {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => {
                tracing::debug!(%error, "no DNS query received");
                continue;
            }
        };
        let Some(answer) = respond(&buffer[..length], Carrier::Udp) else {
            continue;
        };
        if let Err(error) = send(&socket, port, &answer, client, asked).await {
            tracing::debug!(%error, %client, "DNS answer not sent");
        }
    }
}

fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr, Option<SocketAddr>)> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::sockaddr_in6);
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    let mut asked = None;
    for item in message.cmsgs()? {
        match item {
            ControlMessageOwned::Ipv4OrigDstAddr(address) => {
                let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
                asked = Some(SocketAddr::new(ip.into(), u16::from_be(address.sin_port)));
            }
            ControlMessageOwned::Ipv4PacketInfo(info) if asked.is_none() => {
                let ip = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                asked = Some(SocketAddr::new(ip.into(), 0));
            }
            ControlMessageOwned::Ipv6OrigDstAddr(address) => {
                let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
                asked = Some(SocketAddr::new(ip.into(), u16::from_be(address.sin6_port)));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) if asked.is_none() => {
                let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                asked = Some(SocketAddr::new(ip.into(), 0));
            }
            _ => {}
        }
    }
    let client = message.address.and_then(|address| internet(&address));
    Ok((
        message.bytes,
        client.ok_or(io::ErrorKind::InvalidData)?,
        asked,
    ))
}

fn internet(address: &SockaddrStorage) -> Option<SocketAddr> {
    let four = address
        .as_sockaddr_in()
        .map(|address| SocketAddrV4::from(*address).into());
    four.or_else(|| {
        address
            .as_sockaddr_in6()
            .map(|address| SocketAddrV6::from(*address).into())
    })
}

async fn send(
    socket: &UdpSocket,
    port: u16,
    answer: &[u8],
    client: SocketAddr,
    asked: Option<SocketAddr>,
) -> io::Result<()> {
    let Some(asked) = asked else {
        return socket.send_to(answer, client).await.map(drop);
    };
    if asked.port() != 0 && asked.port() != port {
        let from = socket::bind_udp(asked, true)?;
        return from.send_to(answer, client).await.map(drop);
    }
    socket.writable().await?;
    socket.try_io(Interest::WRITABLE, || {
        let (four, six) = source(asked.ip());
        let control = match asked {
            SocketAddr::V4(_) => ControlMessage::Ipv4PacketInfo(&four),
            SocketAddr::V6(_) => ControlMessage::Ipv6PacketInfo(&six),
        };
        sendmsg(
            socket.as_raw_fd(),
            &[IoSlice::new(answer)],
            &[control],
            MsgFlags::empty(),
            Some(&SockaddrStorage::from(client)),
        )
        .map(drop)
        .map_err(io::Error::from)
    })
}

/// The address that a datagram is to come from, in the words of its version of IP (ip(7), RFC 3542 section 6.2).
fn source(address: IpAddr) -> (libc::in_pktinfo, libc::in6_pktinfo) {
    let mut four = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr { s_addr: 0 },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let mut six = libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr { s6_addr: [0; 16] },
        ipi6_ifindex: 0,
    };
    match address {
        IpAddr::V4(address) => four.ipi_spec_dst.s_addr = u32::from(address).to_be(),
        IpAddr::V6(address) => six.ipi6_addr.s6_addr = address.octets(),
    }
    (four, six)
}

/// Answers the queries of one TCP connection (RFC 7766) until the client closes or is silent.
///
/// # Errors
/// What the kernel says of the connection.
pub async fn serve_tcp(
    mut stream: TcpStream,
    respond: impl Fn(&[u8], Carrier) -> Option<Vec<u8>>,
) -> io::Result<()> {
    loop {
        let reading = async {
            let length = usize::from(stream.read_u16().await?);
            let mut query = vec![0; length];
            stream.read_exact(&mut query).await?;
            io::Result::Ok(query)
        };
        let Ok(read) = tokio::time::timeout(TCP_IDLE, reading).await else {
            return Ok(());
        };
        let query = match read {
            Ok(query) => query,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(answer) = respond(&query, Carrier::Tcp) else {
            return Ok(());
        };
        let Ok(length) = u16::try_from(answer.len()) else {
            return Ok(());
        };
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend(answer);
        stream.write_all(&framed).await?;
    }
}
