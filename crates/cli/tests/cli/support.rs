//! Processes with bounded patience.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take; far more than it does, since machines that test are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn towline(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_towline"));
    command.args(args).env_remove("TOWLINE_LOG");
    command
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str], input: &[u8]) -> Output {
    finish(Running::start(args, input.to_vec()))
}

pub(crate) fn finish(running: Running) -> Output {
    running.output()
}

pub(crate) fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object on standard output")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A process of the program, which ends with the test at the latest.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    said: String,
    output: Option<thread::JoinHandle<Vec<u8>>>,
}

impl Running {
    /// Starts the program with standard input that holds these bytes and then ends.
    pub(crate) fn start(args: &[&str], input: Vec<u8>) -> Self {
        let mut running = Self::spawn(args, Stdio::piped());
        let mut stdin = running.child.stdin.take().expect("standard input is a pipe");
        // A program that ends early does not read it all.
        thread::spawn(move || drop(stdin.write_all(&input)));
        running
    }

    /// Starts the program without standard input.
    pub(crate) fn serve(args: &[&str]) -> Self {
        Self::spawn(args, Stdio::null())
    }

    fn spawn(args: &[&str], stdin: Stdio) -> Self {
        let mut command = towline(args);
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("standard error is a pipe"));
        let mut stdout = child.stdout.take().expect("standard output is a pipe");
        let (said, lines) = channel();
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).all(|line| said.send(line).is_ok())
        });
        let output = thread::spawn(move || {
            let mut output = Vec::new();
            stdout.read_to_end(&mut output).expect("standard output can be read");
            output
        });
        Self { child, lines, said: String::new(), output: Some(output) }
    }

    /// Waits for a line on standard error that holds this; returns what follows it there.
    pub(crate) fn expect(&mut self, wanted: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no {wanted:?} in:\n{}", self.said);
            };
            self.said.push_str(&line);
            self.said.push('\n');
            if let Some((_, rest)) = line.split_once(wanted) {
                return rest.trim().to_owned();
            }
        }
    }

    /// The address that the program says it listens on.
    pub(crate) fn address(&mut self) -> String {
        let address = self.expect("listening on ");
        address.strip_prefix("tcp://").unwrap_or(&address).to_owned()
    }

    /// Asks the program to end, as a supervisor does.
    #[cfg(unix)]
    pub(crate) fn terminate(&self) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &id]).status();
        assert!(status.expect("there is a kill command").success());
    }

    /// Ends the program without a chance to do anything about it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Waits for the end.
    pub(crate) fn status(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(Instant::now() < end, "still running; said:\n{}", self.said);
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the end; returns all that it printed.
    pub(crate) fn output(mut self) -> Output {
        let status = self.status();
        let stdout = self.output.take().expect("only taken here").join().expect("the reader ends");
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        Output { status, stdout, stderr: std::mem::take(&mut self.said).into_bytes() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two UDP addresses that were free just now.
pub(crate) fn two_addresses() -> (String, String) {
    let bind = || UdpSocket::bind("127.0.0.1:0").expect("there is a free port");
    let address = |socket: &UdpSocket| socket.local_addr().expect("it is bound").to_string();
    let (one, other) = (bind(), bind());
    (address(&one), address(&other))
}

/// Bytes without a pattern that a mistake could hide in.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// A number from the environment, to do more than usual or the same again.
pub(crate) fn environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}
