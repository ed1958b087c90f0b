//! `towline exit` and `towline entry`: TCP through sessions.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use crate::support::{PATIENCE, Running, noise, text};

/// A service that sends back what it gets, once it has got it all. Returns its address.
fn service() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            thread::spawn(move || {
                let mut all = Vec::new();
                if stream.read_to_end(&mut all).is_ok() {
                    let _ = stream.write_all(&all);
                }
            });
        }
    });
    address
}

pub(crate) fn exit(allow: &str, more: &[&str]) -> (Running, String) {
    let allow = format!("tcp://{allow}");
    let args = ["exit", "--listen", "127.0.0.1:0", "--allow", &allow];
    let mut exit = Running::serve(&[&args, more].concat());
    let address = exit.address();
    (exit, address)
}

pub(crate) fn entry(exit: &str, target: &str, more: &[&str]) -> (Running, String) {
    let target = format!("tcp://{target}");
    let args = ["entry", "--listen", "tcp://127.0.0.1:0", "--exit", exit, "--target", &target];
    let mut entry = Running::serve(&[&args, more].concat());
    let address = entry.address();
    (entry, address)
}

pub(crate) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the entry listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream
}

/// Sends everything, ends that direction, and reads to the end of the other: what half-close is for.
fn exchange(address: &str, data: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = connect(address);
    stream.write_all(data)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

#[test]
fn data_passes_both_ways_and_each_direction_ends_on_its_own() {
    let service = service();
    for dialect in ["rfc0007", "rfc0009", "hoprnet"] {
        let more = ["--dialect", dialect];
        let (_exit, exit_address) = exit(&service, &more);
        let (_entry, address) = entry(&exit_address, &service, &more);
        for length in [0, 1, 300_000] {
            let data = noise(length, length as u64);
            let answer = exchange(&address, &data).expect("the session ends well");
            assert!(answer == data, "{dialect}, {length} bytes");
        }
    }
}

#[test]
fn several_entries_share_an_exit() {
    let service = service();
    let (_exit, exit_address) = exit(&service, &[]);
    let entries = [entry(&exit_address, &service, &[]), entry(&exit_address, &service, &[])];
    thread::scope(|scope| {
        for (number, (_, address)) in entries.iter().enumerate() {
            for connection in 0..4 {
                scope.spawn(move || {
                    let data = noise(100_000, (number * 10 + connection) as u64);
                    assert!(exchange(address, &data).expect("the session ends well") == data);
                });
            }
        }
    });
}

#[test]
fn a_target_without_a_rule_is_refused() {
    let service = service();
    let (mut exit, exit_address) = exit("127.0.0.1:1", &[]);
    let (mut entry, address) = entry(&exit_address, &service, &[]);
    assert!(exchange(&address, b"let me in").is_err(), "a refusal must not look like a good end");
    entry.expect("refused a session to");
    exit.expect("no --allow rule covers it");
}

#[test]
fn a_target_that_is_not_there_is_refused() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        listener.local_addr().expect("it is bound").to_string()
    };
    let (mut exit, exit_address) = exit(&nobody, &[]);
    let (mut entry, address) = entry(&exit_address, &nobody, &[]);
    assert!(exchange(&address, b"anybody?").is_err());
    entry.expect("refused a session to");
    exit.expect("cannot be reached");
}

#[test]
fn an_exit_that_is_not_there_resets_the_client() {
    let (mut entry, address) = entry("127.0.0.1:1", "127.0.0.1:1", &["--connect-timeout", "1"]);
    assert!(exchange(&address, b"anybody?").is_err());
    entry.expect("no answer from 127.0.0.1:1");
    assert!(entry.is_running(), "the next connection may have more luck");
}

#[test]
fn a_service_that_goes_away_does_not_look_like_a_good_end() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let target = listener.local_addr().expect("it is bound").to_string();
    let (_exit, exit_address) = exit(&target, &[]);
    let (_entry, address) = entry(&exit_address, &target, &[]);
    let mut client = connect(&address);
    client.write_all(b"hello").expect("the entry takes it");
    let (mut served, _) = listener.accept().expect("a connection");
    served.write_all(b"half of it").expect("the exit takes it");
    let mut half = [0; 10];
    client.read_exact(&mut half).expect("it comes");
    // Once it is there, unread data makes the end a reset.
    served.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    served.peek(&mut [0]).expect("it comes");
    drop(served);
    let mut rest = Vec::new();
    assert!(client.read_to_end(&mut rest).is_err());
}

#[test]
fn a_client_that_goes_away_does_not_look_like_a_good_end() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let target = listener.local_addr().expect("it is bound").to_string();
    let (_exit, exit_address) = exit(&target, &[]);
    let (_entry, address) = entry(&exit_address, &target, &[]);
    let mut client = connect(&address);
    client.write_all(b"half of it").expect("the entry takes it");
    let (mut served, _) = listener.accept().expect("a connection");
    served.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let mut half = [0; 10];
    served.read_exact(&mut half).expect("it comes");
    served.write_all(b"unread").expect("the exit takes it");
    // Once it is there, unread data makes the end a reset.
    client.peek(&mut [0]).expect("it comes");
    drop(client);
    let mut rest = Vec::new();
    assert!(served.read_to_end(&mut rest).is_err());
}

#[test]
fn sessions_above_the_limit_are_refused_as_too_many() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let target = listener.local_addr().expect("it is bound").to_string();
    let (_exit, exit_address) = exit(&target, &["--max-sessions", "1"]);
    let (mut entry, address) = entry(&exit_address, &target, &[]);
    let mut first = connect(&address);
    first.write_all(b"first").expect("the entry takes it");
    let _served = listener.accept().expect("a connection");
    assert!(exchange(&address, b"second").is_err());
    entry.expect("no slots available");
}

#[cfg(unix)]
#[test]
fn a_supervisor_can_end_both() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let target = listener.local_addr().expect("it is bound").to_string();
    let (exit, exit_address) = exit(&target, &[]);
    let (mut entry, address) = entry(&exit_address, &target, &[]);
    let mut client = connect(&address);
    client.write_all(b"hello").expect("the entry takes it");
    let (mut served, _) = listener.accept().expect("a connection");
    served.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    entry.terminate();
    assert!(entry.status().success());
    let mut rest = Vec::new();
    assert!(client.read_to_end(&mut rest).is_err(), "the client learns that it was cut off");
    assert!(served.read_to_end(&mut rest).is_err(), "the service learns it, too");
    exit.terminate();
    let output = exit.output();
    assert!(output.status.success(), "{}", text(&output.stderr));
}
