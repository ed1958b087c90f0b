//! Wrong usage, help, and faults that a person can mend.

use std::net::{TcpListener, UdpSocket};

use crate::support::{run, text};

const COMMANDS: [&[&str]; 8] = [
    &["exit"],
    &["entry"],
    &["pipe"],
    &["perf", "serve"],
    &["perf", "send"],
    &["perf", "ping"],
    &["decode"],
    &["demo"],
];

#[test]
fn every_command_shows_an_example() {
    for command in COMMANDS {
        let output = run(&[command, &["--help"]].concat(), b"");
        assert!(output.status.success());
        let help = text(&output.stdout);
        assert!(help.contains("Example") && help.contains("  towline "), "{command:?}: {help}");
    }
}

#[test]
fn wrong_usage_is_exit_status_2() {
    let exit = ["exit", "--listen", "127.0.0.1:0"];
    let entry = ["entry", "--exit", "127.0.0.1:1", "--target", "tcp://127.0.0.1:1", "--listen"];
    let bare = ["pipe", "--bare", "--local", "127.0.0.1:0", "--peer", "127.0.0.1:1"];
    for args in [
        &[][..],
        &["unheard-of"],
        &exit,
        &[&exit[..], &["--allow", "127.0.0.1:80"]].concat(),
        &[&exit[..], &["--allow", "tcp://10.1.0.0/8:80"]].concat(),
        &[&exit[..], &["--allow", "tcp://*:80", "--transport", "quic"]].concat(),
        &[&exit[..], &["--allow", "tcp://*:80", "--mtu", "5"]].concat(),
        &[&exit[..], &["--allow", "tcp://*:80", "--max-sessions", "0"]].concat(),
        &["exit", "--listen", "nowhere", "--allow", "tcp://*:80"],
        &[&entry[..], &["127.0.0.1:0"]].concat(),
        &[&entry[..], &["tcp://127.0.0.1:0", "--mode", "unreliable"]].concat(),
        &[&entry[..], &["tcp://127.0.0.1:0", "--frame-size", "1000000"]].concat(),
        &["pipe"],
        &["pipe", "--connect", "127.0.0.1:1"],
        &["pipe", "--connect", "127.0.0.1:1", "--target", "http://x:1"],
        &bare,
        &[&bare[..], &["--mode", "reliable"]].concat(),
        &["perf"],
        &["perf", "send", "--to", "127.0.0.1:1"],
        &["perf", "send", "--to", "127.0.0.1:1", "--bytes", "1", "--duration", "1"],
        &["perf", "send", "--to", "127.0.0.1:1", "--bytes", "1T"],
        &["perf", "ping", "--to", "127.0.0.1:1", "--count", "1", "--size", "7"],
        &["decode"],
        &["decode", "--dialect", "rfc0008", "00"],
        &["demo", "--loss", "101"],
    ] {
        let output = run(args, b"");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn listeners_to_come_are_refused_as_such() {
    for scheme in ["udp", "socks5"] {
        let listen = format!("{scheme}://127.0.0.1:0");
        let output =
            run(&["entry", "--listen", &listen, "--exit", "h:1", "--target", "tcp://h:1"], b"");
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("not supported yet"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_port_in_use_is_named() {
    let udp = UdpSocket::bind("127.0.0.1:0").expect("there is a free port");
    let udp = udp.local_addr().map(|address| (address.to_string(), udp)).expect("it is bound");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let tcp = tcp.local_addr().map(|address| (address.to_string(), tcp)).expect("it is bound");
    let listen = format!("tcp://{}", tcp.0);
    for (args, address) in [
        (&["exit", "--listen", &udp.0, "--allow", "tcp://*:80"][..], &udp.0),
        (&["perf", "serve", "--listen", &udp.0], &udp.0),
        (&["pipe", "--accept", &udp.0], &udp.0),
        (&["entry", "--listen", &listen, "--exit", "127.0.0.1:1", "--target", "h:1"], &tcp.0),
    ] {
        let output = run(args, b"");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let said = text(&output.stderr);
        assert!(said.contains(&format!("{address} is in use")), "{args:?}: {said}");
    }
}

#[test]
fn an_exit_that_does_not_answer_is_named() {
    for args in [
        &["pipe", "--connect", "127.0.0.1:1", "--target", "tcp://h:1"][..],
        &["perf", "send", "--to", "127.0.0.1:1", "--bytes", "1"],
        &["perf", "ping", "--to", "127.0.0.1:1", "--count", "1", "--size", "8"],
    ] {
        let output = run(&[args, &["--connect-timeout", "1"]].concat(), b"");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let said = text(&output.stderr);
        assert!(said.contains("no answer from 127.0.0.1:1"), "{args:?}: {said}");
    }
}

#[test]
fn plain_udp_is_warned_of_where_it_is_used() {
    let warning = "neither encrypted nor authenticated";
    let send = ["perf", "send", "--to", "127.0.0.1:1", "--bytes", "1", "--connect-timeout", "1"];
    assert!(text(&run(&send, b"").stderr).contains(warning));
    assert!(!text(&run(&["decode", "00"], b"").stderr).contains(warning));
}
