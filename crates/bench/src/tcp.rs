//! The kernel's TCP, through blocking calls.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::{Carried, Failure, both_ends};

/// Bytes in a call.
const CALL: usize = 128 << 10;

pub(crate) fn carry(bytes: u64) -> Result<Carried, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let began = Instant::now();
    both_ends(
        move || {
            let (mut stream, _) = listener.accept()?;
            let mut buffer = vec![0; CALL];
            let mut arrived = 0;
            loop {
                match stream.read(&mut buffer)? {
                    0 => return Ok(Carried { bytes: arrived, time: began.elapsed() }),
                    length => arrived += length as u64,
                }
            }
        },
        || {
            let mut stream = TcpStream::connect(address)?;
            let buffer = vec![0xa5; CALL];
            let mut left = bytes;
            while left > 0 {
                let length = left.min(CALL as u64);
                stream.write_all(&buffer[..length as usize])?;
                left -= length;
            }
            Ok(())
        },
    )
}

pub(crate) fn ask(requests: u32) -> Result<Vec<Duration>, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut times = Vec::new();
    both_ends(
        move || {
            let (mut stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            let mut message = [0; 100];
            for _ in 0..requests {
                stream.read_exact(&mut message)?;
                stream.write_all(&message)?;
            }
            Ok(())
        },
        || {
            let mut stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            let mut message = [0xa5; 100];
            for _ in 0..requests {
                let asked = Instant::now();
                stream.write_all(&message)?;
                stream.read_exact(&mut message)?;
                times.push(asked.elapsed());
            }
            Ok(())
        },
    )?;
    Ok(times)
}
