//! A name server answers from the address that was asked, in both versions of IP.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hauberk_net::{dns_server, socket};
use tokio::net::UdpSocket;

#[tokio::test]
async fn an_answer_comes_from_where_the_question_went() {
    for (everywhere, here) in [
        (
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::from(([127, 3, 2, 1], 0)),
        ),
        (
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
        ),
    ] {
        let server = socket::bind_udp(everywhere, false).unwrap();
        let asked = SocketAddr::new(here.ip(), server.local_addr().unwrap().port());
        let serving = tokio::spawn(dns_server::serve_udp(server, |query, _| {
            Some(query.to_vec())
        }));
        let client = UdpSocket::bind(SocketAddr::new(everywhere.ip(), 0))
            .await
            .unwrap();
        client.send_to(b"question", asked).await.unwrap();
        let mut answer = [0; 16];
        let received = tokio::time::timeout(Duration::from_secs(5), client.recv_from(&mut answer));
        let (length, from) = received.await.unwrap().unwrap();
        assert_eq!((&answer[..length], from), (&b"question"[..], asked));
        serving.abort();
    }
}
