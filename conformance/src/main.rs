//! The program behind `cargo xtask conformance`: questions put to implementations of the session protocol.

use std::error::Error;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use towline_conformance::case::Mode;
use towline_conformance::own::target;
use towline_conformance::report::Report;
use towline_conformance::subject::{Framing, Reception, Role, Subject, Times};
use towline_conformance::wire::{Wire, text};
use towline_conformance::{cases, echo, suite, vectors};
use towline_wire::{Dialect, Mtu};

/// Put the conformance cases to an implementation of the session protocol
///
/// With --target, the suite plays scripted peers against an exit or a data-plane endpoint at that address;
/// with --listen, it plays responders to an initiator that asks it for sessions again and again. With neither,
/// it asks this project's own endpoints, in every dialect, and checks the codec against the test vectors.
///
/// Whatever its sessions bring, the implementation under test has to send back; docs/conformance.md tells how
/// to set one up. Exit status: 0 when no case failed, 1 when one did, 2 when none could be put: for wrong usage,
/// or a file or address that is not to be had.
#[derive(Parser)]
#[command(
    name = "cargo xtask conformance",
    bin_name = "cargo xtask conformance",
    max_term_width = 100,
    after_help = "Examples:
  cargo xtask conformance
  cargo xtask conformance --target 127.0.0.1:9091 --dialect rfc0009 --junit report.xml
  cargo xtask conformance --target 127.0.0.1:9091 --framing bare --role data-plane --mtu 1018
  cargo xtask conformance --listen 127.0.0.1:9092"
)]
struct Arguments {
    /// Ask the exit or data-plane endpoint that listens here
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "listen")]
    target: Option<SocketAddr>,
    /// Wait here for an initiator that asks for sessions
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
    /// How datagrams are matched with sessions
    #[arg(long, value_enum, default_value_t = FramingArg::Tagged)]
    framing: FramingArg,
    /// What listens at --target [default: an exit if tagged, a data-plane endpoint if bare]
    #[arg(long, value_enum, requires = "target")]
    role: Option<RoleArg>,
    /// The modes that the subject's sessions can have [default: both; reliable for a data-plane endpoint]
    #[arg(long, value_enum)]
    mode: Vec<ModeArg>,
    /// What the subject speaks [default: rfc0007; all of them without --target and --listen]
    #[arg(long)]
    dialect: Option<Dialect>,
    /// Largest message in bytes, without its tag
    #[arg(long, value_name = "BYTES", default_value = "1400", value_parser = mtu)]
    mtu: Mtu,
    /// Only the cases with this id, or whose ids start with it and a dot
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// List the cases instead of playing them
    #[arg(long)]
    list: bool,
    /// Write the test vectors into this folder, as our codec makes them
    #[arg(long, value_name = "FOLDER", exclusive = true)]
    write_vectors: Option<PathBuf>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Write the results as JUnit XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Cases at a time
    #[arg(long, value_name = "N", default_value = "4")]
    jobs: usize,
    #[command(flatten)]
    knowledge: Knowledge,
}

/// What is to be known about a subject of somebody else's.
#[derive(clap::Args)]
#[command(next_help_heading = "What the subject is set to")]
struct Knowledge {
    /// The target of reliable sessions, as text [default: an echo that the suite runs on loopback]
    #[arg(long, value_name = "TARGET")]
    session_target: Option<String>,
    /// The target of unreliable sessions, as text [default: the same echo]
    #[arg(long, value_name = "TARGET")]
    unreliable_target: Option<String>,
    /// Sessions that an exit grants at a time, if they are few enough to be filled
    #[arg(long, value_name = "N")]
    slots: Option<usize>,
    /// How long to wait for what has no time of its own
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    patience: Duration,
    /// Its frame timeout
    #[arg(long, value_name = "SECONDS", default_value = "0.8", value_parser = seconds)]
    frame_timeout: Duration,
    /// Its acknowledgement delay
    #[arg(long, value_name = "SECONDS", default_value = "0.1", value_parser = seconds)]
    ack_delay: Duration,
    /// Its half-open timeout
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    half_open_timeout: Duration,
    /// Its idle timeout
    #[arg(long, value_name = "SECONDS", default_value = "180", value_parser = seconds)]
    idle_timeout: Duration,
    /// Skip cases that have to let more time pass than this
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    longest: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FramingArg {
    /// A 64-bit tag stands before each message
    Tagged,
    /// Bare messages, one session per peer address
    Bare,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleArg {
    /// It grants sessions
    Exit,
    /// It has a session with every address that speaks to it, without a handshake
    DataPlane,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    /// What is lost is recovered
    Reliable,
    /// What is lost stays lost
    Unreliable,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        list();
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = arguments.only.iter().find(|only| !suite::knows(only)) {
        eprintln!("cargo xtask conformance: there is no case {unknown}; --list shows them all");
        return ExitCode::from(2);
    }
    let result = match &arguments.write_vectors {
        Some(folder) => write_vectors(folder),
        None => play(&arguments).and_then(|report| show(&arguments, &report)),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo xtask conformance: {error}");
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the list is what was asked for")]
fn list() {
    for case in cases::all() {
        println!("{:32} {} ({})", case.id, case.asks, case.rules.join(", "));
    }
}

fn write_vectors(folder: &Path) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let written = vectors::write(folder)
        .map_err(|error| format!("cannot write into {}: {error}", folder.display()))?;
    for path in written {
        eprintln!("wrote {}", path.display());
    }
    Ok(true)
}

fn play(arguments: &Arguments) -> Result<Report, Box<dyn Error + Send + Sync>> {
    let only = &arguments.only;
    let progress = |outcome: &towline_conformance::run::Outcome| {
        if let Err(stop) = &outcome.verdict {
            eprintln!("{}: {stop}", outcome.id);
        }
    };
    if arguments.target.is_none() && arguments.listen.is_none() {
        let dialects: &[Dialect] =
            arguments.dialect.as_ref().map_or(&Dialect::ALL, std::slice::from_ref);
        return suite::own(dialects, arguments.mtu, only, arguments.jobs, progress);
    }
    // Alive for as long as the echo has to be.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let subject = subject(arguments, &runtime)?;
    let group = suite::ask(&subject, only, arguments.jobs, progress);
    if group.outcomes.is_empty() {
        return Err("no case of this name is for such a subject; --list shows them all".into());
    }
    Ok(Report { groups: vec![group] })
}

fn subject(
    arguments: &Arguments,
    runtime: &tokio::runtime::Runtime,
) -> Result<Subject, Box<dyn Error + Send + Sync>> {
    let Arguments { target: at, listen, knowledge, mtu, .. } = arguments;
    let dialect = arguments.dialect.unwrap_or_default();
    let framing = match arguments.framing {
        FramingArg::Tagged => Framing::Tagged,
        FramingArg::Bare => Framing::Bare,
    };
    let role = match (arguments.role, framing, listen) {
        (_, _, Some(_)) => Role::Initiator,
        (Some(RoleArg::Exit), _, None) | (None, Framing::Tagged, None) => Role::Exit,
        (Some(RoleArg::DataPlane), Framing::Bare, None) | (None, Framing::Bare, None) => {
            Role::DataPlane
        }
        (Some(RoleArg::DataPlane), Framing::Tagged, None) => {
            return Err("without a handshake there are no tags: add --framing bare".into());
        }
    };
    let mut modes: Vec<Mode> = arguments
        .mode
        .iter()
        .map(|mode| match mode {
            ModeArg::Reliable => Mode::Reliable,
            ModeArg::Unreliable => Mode::Unreliable,
        })
        .collect();
    if modes.is_empty() {
        modes = match role {
            Role::Exit => vec![Mode::Reliable, Mode::Unreliable],
            Role::DataPlane | Role::Initiator => vec![Mode::Reliable],
        };
    }
    let reception = match listen {
        Some(address) => Some(Reception::new(
            UdpSocket::bind(address)
                .map_err(|error| format!("cannot listen on {address}: {error}"))?,
        )),
        None => None,
    };
    let echo = runtime.block_on(echo::start())?;
    let item = |given: &Option<String>, mode| match given {
        Some(given) => text(given),
        None => target(dialect, mode, echo),
    };
    let reliable_target = item(&knowledge.session_target, towline::Mode::Reliable);
    let unreliable_target = item(&knowledge.unreliable_target, towline::Mode::Unreliable);
    let address = at.or(*listen).ok_or("there is nothing to ask")?;
    Ok(Subject {
        name: format!("{address} ({dialect}, MTU {mtu})"),
        role,
        address,
        framing,
        wire: Wire { dialect, mtu: mtu.get() },
        modes,
        reliable_target,
        unreliable_target,
        slots: knowledge.slots,
        times: Times {
            patience: knowledge.patience,
            frame_timeout: knowledge.frame_timeout,
            ack_delay: knowledge.ack_delay,
            half_open: knowledge.half_open_timeout,
            idle: knowledge.idle_timeout,
            longest: knowledge.longest,
        },
        attach: None,
        reception,
    })
}

#[expect(clippy::print_stdout, reason = "the report is what was asked for")]
fn show(arguments: &Arguments, report: &Report) -> Result<bool, Box<dyn Error + Send + Sync>> {
    if arguments.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.table());
    }
    if let Some(path) = &arguments.junit {
        report
            .write_junit(path)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(report.counts().failed == 0)
}

fn mtu(bytes: &str) -> Result<Mtu, String> {
    let bytes: usize = bytes.parse().map_err(|_| "not a number of bytes".to_owned())?;
    Mtu::new(bytes).map_err(|error| error.to_string())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
