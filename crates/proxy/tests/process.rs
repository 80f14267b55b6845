//! The whole process: bootstrap file, readiness, admin socket, DNS, and its end.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod support;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hauberk_config::Snapshot;
use hauberk_config::dns::{DnsRecord, DnsTable};
use hauberk_config::listener::{Direction, Traffic};
use hauberk_proxy::bootstrap::Bootstrap;
use hauberk_proxy::process;
use support::*;

fn ask(path: &Path, line: &str) -> String {
    let Ok(mut stream) = UnixStream::connect(path) else {
        return String::new();
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    write!(
        stream,
        "{line} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn wait_for(path: &Path, line: &str, wanted: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let answer = ask(path, line);
        if answer.contains(wanted) {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "{line}: no {wanted:?} in {answer}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn dns_snapshot(port: u16) -> Snapshot {
    let record = DnsRecord {
        addresses: vec![IpAddr::from([10, 96, 0, 7])],
        time_to_live: Duration::from_secs(30),
    };
    let mut dns = listener("dns", port, Direction::Outbound, Vec::new());
    dns.traffic = Traffic::Dns(Arc::new(DnsTable {
        records: HashMap::from([("web.bank".to_owned(), record)]),
        ..DnsTable::default()
    }));
    let mut snapshot = Snapshot::default();
    insert_listener(&mut snapshot, dns);
    Authority::new().equip(&mut snapshot, "spiffe://cluster.local/ns/bank/sa/web");
    snapshot
}

const QUERY: &[u8] = b"\xab\xcd\x01\0\0\x01\0\0\0\0\0\0\x03web\x04bank\0\0\x01\0\x01";

#[test]
fn a_process_becomes_ready_answers_and_ends_when_asked() {
    let directory = std::env::temp_dir().join(format!("hauberk-process-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let admin = directory.join("admin.sock");
    let file = directory.join("bootstrap.json");
    let text = format!(
        r#"{{"node": {{"id": "sidecar~127.0.0.1~web-0.bank~bank.svc.cluster.local"}}, "xds": "{0}/x", "admin": "{0}/admin.sock",
            "records": "{0}/records.log", "access_log": "{0}/access.log", "drain_seconds": 0}}"#,
        directory.display()
    );
    std::fs::write(&file, text).unwrap();
    let (sender, snapshots) = tokio::sync::watch::channel(Arc::new(Snapshot::default()));
    let bootstrap = Bootstrap::read(&file).unwrap();
    let running = std::thread::spawn(move || process::run(bootstrap, |_| Ok(snapshots)));

    wait_for(&admin, "GET /ready", "503 Service Unavailable");
    let nothing = Snapshot {
        generation: 1,
        ..Snapshot::default()
    };
    sender.send(Arc::new(nothing)).unwrap();
    wait_for(&admin, "GET /ready", "200 OK");
    let port = free_port();
    sender.send(Arc::new(dns_snapshot(port))).unwrap();
    wait_for(&admin, "GET /config_dump", "\"name\": \"dns\"");

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(3)))
        .unwrap();
    socket.send_to(QUERY, loopback(port)).unwrap();
    let mut answer = [0; 512];
    let (length, from) = socket.recv_from(&mut answer).unwrap();
    assert!(from == loopback(port) && answer[..length].ends_with(&[10, 96, 0, 7]));
    let mut stream = TcpStream::connect(loopback(port)).unwrap();
    stream
        .write_all(&[&[0, QUERY.len() as u8], QUERY].concat())
        .unwrap();
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(head))];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer.ends_with(&[10, 96, 0, 7]));

    assert!(ask(&admin, "GET /stats/prometheus").contains("process_resident_memory_bytes"));
    let dump = ask(&admin, "GET /config_dump");
    assert!(
        dump.contains("\"name\": \"dns\"") && !dump.contains("PRIVATE KEY"),
        "{dump}"
    );
    assert!(ask(&admin, "GET /certs").contains("spiffe://cluster.local/ns/bank/sa/web"));
    assert!(ask(&admin, "GET /logging?level=debug").contains("200 OK"));
    assert!(ask(&admin, "GET /quitquitquit").contains("405"));
    assert!(ask(&admin, "POST /quitquitquit").contains("200 OK"));
    running.join().unwrap().unwrap();
    assert!(!admin.exists());
    std::fs::remove_dir_all(&directory).unwrap();
}
