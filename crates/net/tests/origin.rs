//! Sockets with an address that is not ours: needs CAP_NET_ADMIN.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hauberk_net::socket::{Origin, connect, listen};

#[tokio::test]
async fn an_endpoint_sees_the_address_that_is_shown_to_it() {
    let listener = match listen(SocketAddr::from(([127, 0, 0, 1], 0)), true) {
        Ok(listener) => listener,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            println!("skipped: IP_TRANSPARENT needs CAP_NET_ADMIN ({error})");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let shown = IpAddr::from([127, 9, 9, 9]);
    let origin = Origin {
        address: Some(shown),
        other: None,
        mark: 2,
    };
    let address = listener.local_addr().unwrap();
    let stream = connect(address, origin, None, Duration::from_secs(2))
        .await
        .unwrap();
    let (accepted, peer) = listener.accept().await.unwrap();
    assert_eq!(peer.ip(), shown);
    assert_eq!(accepted.local_addr().unwrap(), address);
    assert_eq!(socket2::SockRef::from(&stream).mark().unwrap(), 2);
}
