//! `towline decode`: messages explained.

mod diagnostic;
mod line;

use std::io::{self, BufRead, BufWriter, Write};

use bytes::Bytes;
use towline_wire::{Dialect, Mtu};

use self::line::{Decoder, Line};
use crate::args::{dialects, mtu};
use crate::failure::Failure;

/// Explain messages, one JSON object per line
///
/// The first byte of a message tells the handshake (2) from data (1). A message that does not decode gives
/// {"error": reason} and, in the end, exit status 1.
#[derive(clap::Args)]
#[command(after_help = "Example:
  towline decode --dialect hoprnet 01000007000000010001ab
  towline decode --tagged - < datagrams.txt")]
pub(crate) struct Args {
    /// Variant of the wire format
    #[arg(long, default_value = "rfc0007", value_parser = dialects())]
    dialect: Dialect,
    /// Largest message in bytes [default: what the message itself suggests]
    #[arg(long, value_name = "BYTES", value_parser = mtu)]
    mtu: Option<Mtu>,
    /// An 8-byte tag stands before each message
    #[arg(long)]
    tagged: bool,
    /// Datagrams in hexadecimal, or - for one per line of standard input
    #[arg(required = true, value_name = "HEX")]
    datagrams: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let decoder = Decoder { dialect: args.dialect, mtu: args.mtu, tagged: args.tagged };
    let mut output = BufWriter::new(io::stdout().lock());
    let mut all_well = true;
    let mut explain = |text: &str| -> Result<(), Failure> {
        let lines = match bytes_of(text) {
            Ok(datagram) => decoder.decode(datagram),
            Err(error) => vec![Line::Error { error: format!("not hexadecimal: {error}") }],
        };
        for line in lines {
            all_well &= !matches!(line, Line::Error { .. });
            serde_json::to_writer(&mut output, &line)
                .map_err(|error| Failure::Stdout(error.into()))?;
            output.write_all(b"\n").map_err(Failure::Stdout)?;
        }
        // Whoever feeds a capture in wants to see it as it comes.
        output.flush().map_err(Failure::Stdout)?;
        Ok(())
    };
    for datagram in &args.datagrams {
        if datagram != "-" {
            explain(datagram)?;
            continue;
        }
        for line in io::stdin().lock().lines() {
            let line = line.map_err(Failure::Stdin)?;
            if !line.trim().is_empty() {
                explain(&line)?;
            }
        }
    }
    if all_well { Ok(()) } else { Err(Failure::Reported) }
}

fn bytes_of(text: &str) -> Result<Bytes, hex::FromHexError> {
    let text = text.trim();
    hex::decode(text.strip_prefix("0x").unwrap_or(text)).map(Bytes::from)
}
