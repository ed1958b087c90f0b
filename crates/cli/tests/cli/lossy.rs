//! Entry and exit as processes, with a bad path between them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use crate::path::Path;
use crate::support::noise;
use crate::tunnel::{connect, entry, exit};

/// A service that sends `content` to whoever connects. Returns its address.
fn download_service(content: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A client may leave before the end.
            let _ = stream.expect("a connection").write_all(&content);
        }
    });
    address
}

#[test]
fn a_download_of_64_mib_survives_five_percent_of_loss() {
    let content = noise(64 << 20, 7);
    let service = download_service(content.clone());
    let (_exit, far) = exit(&service, &[]);
    let path = Path::start(far.parse().expect("an address"), 0.05);
    let (_entry, near) = entry(&path.address.to_string(), &service, &[]);
    let mut received = Vec::with_capacity(content.len());
    connect(&near).read_to_end(&mut received).expect("the download ends well");
    assert!(received == content, "{} bytes came, or others", received.len());
}

#[test]
fn an_exit_that_is_killed_ends_its_clients_connections() {
    let service = download_service(noise(64 << 20, 7));
    let (exit, far) = exit(&service, &[]);
    let path = Path::start(far.parse().expect("an address"), 0.0);
    let (_entry, near) = entry(&path.address.to_string(), &service, &["--idle-timeout", "2"]);
    let mut stream = connect(&near);
    stream.read_exact(&mut [0; 1000]).expect("the download begins");
    // No buffer on the way holds the rest of it. Killed, not asked to end: nobody says a last word.
    drop(exit);
    let end = stream.read_to_end(&mut Vec::new());
    assert!(end.is_err(), "a download that broke off looks whole");
}
