//! The project's own commands: `cargo xtask demo`, `test`, `conformance`, `vectors`, `simulate`, `bench` and `docs`.

mod docs;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::{Parser, Subcommand, ValueEnum};

/// Commands of the Towline project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Carry 64 MiB of a TCP service through a session over a lossy UDP path.
    Demo {
        /// Passed on to `towline demo`; see `cargo xtask demo -- --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Run the whole test suite.
    Test,
    /// Put the conformance cases to our own endpoints, or to somebody else's.
    ///
    /// `cargo xtask conformance --help` shows how.
    #[command(disable_help_flag = true)]
    Conformance {
        /// Passed on to `towline-conformance`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Write the test vectors of `conformance/vectors` anew, from the codec.
    Vectors,
    /// Run random topologies of both state machines on virtual time.
    ///
    /// `cargo xtask simulate --help` shows how.
    #[command(disable_help_flag = true)]
    Simulate {
        /// Passed on to `towline-simulate`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Measure what things cost; `docs/benchmarks.md` says what came out.
    Bench {
        /// One benchmark instead of all
        #[arg(value_enum)]
        what: Option<Bench>,
        /// Passed on: to criterion a filter, or options such as `--save-baseline`; to `loopback`,
        /// `plots`, `relay` and `scale` their own.
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Write `docs/protocol.md` anew, from the files in `docs/proto`.
    Docs {
        /// Write nothing, and fail if it is not up to date.
        #[arg(long)]
        check: bool,
    },
}

/// A step that did not succeed.
struct Failed {
    step: String,
    /// What its program ended with, if it ended by itself.
    code: Option<i32>,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed: {}", self.step)
    }
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Demo { arguments } => demo(arguments),
        Task::Test => test(),
        Task::Conformance { arguments } => conformance(arguments),
        Task::Vectors => {
            conformance(["--write-vectors", "conformance/vectors"].map(OsString::from))
        }
        Task::Simulate { arguments } => simulate(arguments),
        Task::Bench { what, arguments } => bench(what, &arguments),
        Task::Docs { check } => docs::docs(&root(), check)
            .map_err(|error| Failed { step: format!("docs ({error})"), code: None }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("cargo xtask: {failed}");
            // The exit status of the commands that are passed on tells wrong usage from failure.
            failed
                .code
                .and_then(|code| u8::try_from(code).ok())
                .map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}

fn demo(arguments: Vec<OsString>) -> Result<(), Failed> {
    let mut demo =
        cargo(["run", "--locked", "--release", "--package", "towline-cli", "--", "demo"]);
    demo.args(passed_on(arguments));
    run(demo)
}

fn conformance(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Failed> {
    let mut suite = cargo(["run", "--locked", "--quiet", "--package", "towline-conformance", "--"]);
    suite.args(passed_on(arguments));
    run(suite)
}

fn simulate(arguments: Vec<OsString>) -> Result<(), Failed> {
    let package = ["--package", "towline-simulate"];
    let mut simulate = cargo(["run", "--locked", "--quiet", "--release"]);
    simulate.args(package).arg("--").args(passed_on(arguments));
    run(simulate)
}

/// `cargo xtask demo -- --bytes 1M` and `cargo xtask demo --bytes 1M` mean the same.
fn passed_on(arguments: impl IntoIterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    arguments.into_iter().skip_while(|argument| argument == "--")
}

fn test() -> Result<(), Failed> {
    run(cargo(["test", "--locked", "--workspace", "--all-features"]))?;
    // The codec crate on its own, as someone who takes only that will build it.
    for features in ["", "data", "relay", "start"] {
        run(cargo([
            "test",
            "--locked",
            "--package",
            "towline-wire",
            "--no-default-features",
            "--features",
            features,
        ]))?;
    }
    // Fails to compile as soon as anything below the codecs links the standard library.
    let probe = root().join("crates/wire/no-std-probe/Cargo.toml");
    let mut check = cargo(["check", "--locked", "--manifest-path"]);
    check.arg(probe).arg("--target-dir").arg(root().join("target/no-std-probe"));
    run(check)
}

/// What is measured.
#[derive(Clone, Copy, ValueEnum)]
enum Bench {
    /// Encoding and decoding of single messages
    Codec,
    /// Two connections in memory
    Engine,
    /// Instructions of the hot paths, beside what they are allowed to be
    Instructions,
    /// Sessions beside UDP, TCP, QUIC and KCP
    Loopback,
    /// Pictures of the tables of the emulated paths; `--check` writes none
    Plots,
    /// The message relay: how fast, how soon, and how many
    Relay,
    /// Sessions by the thousand
    Scale,
    /// The store of the message relay, beside an fdatasync
    Store,
}

fn bench(what: Option<Bench>, arguments: &[OsString]) -> Result<(), Failed> {
    let chosen = what.as_ref().map_or(Bench::value_variants(), std::slice::from_ref);
    for what in chosen {
        let mut command = match what {
            Bench::Codec => cargo_bench("towline-wire", "codec"),
            Bench::Engine => cargo_bench("towline-data", "engine"),
            Bench::Instructions => {
                let needed = ["valgrind", "gungraun-runner"];
                if let Some(absent) = needed.into_iter().find(|program| !is_installed(program)) {
                    eprintln!("cargo xtask: no instructions are counted without {absent}");
                    continue;
                }
                cargo_bench("towline-data", "instructions")
            }
            Bench::Loopback => our_own("loopback"),
            Bench::Plots => our_own("plots"),
            Bench::Relay => our_own("relay"),
            Bench::Scale => our_own("scale"),
            Bench::Store => cargo_bench("towline-relay", "store"),
        };
        command.args(arguments);
        run(command)?;
    }
    Ok(())
}

fn is_installed(program: &str) -> bool {
    let mut version = Command::new(program);
    version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok()
}

fn our_own(what: &str) -> Command {
    cargo(["run", "--locked", "--release", "--package", "towline-bench", "--", what])
}

fn cargo_bench(package: &str, bench: &str) -> Command {
    cargo(["bench", "--locked", "--package", package, "--bench", bench, "--"])
}

fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root());
    command
}

fn run(mut command: Command) -> Result<(), Failed> {
    let step = format!("{command:?}").replace(&format!("{:?} ", command.get_program()), "cargo ");
    eprintln!("cargo xtask: {step}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failed { step: format!("{step} ({status})"), code: status.code() }),
        Err(error) => Err(Failed { step: format!("{step} ({error})"), code: None }),
    }
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
