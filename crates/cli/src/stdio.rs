//! Standard input and output as queues of large chunks.
//!
//! Threads of their own read and write, so that neither a terminal where nobody types nor a reader that has
//! stopped can keep the program from ending.

use std::io::{self, Read, Write};
use std::thread;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// Bytes read at a time: what a pipe holds.
pub(crate) const CHUNK: usize = 64 * 1024;

/// Chunks that may wait in each direction.
const QUEUE: usize = 8;

/// The chunks of standard input, until its end or the first error.
pub(crate) fn stdin() -> mpsc::Receiver<io::Result<Bytes>> {
    let (chunks, queue) = mpsc::channel(QUEUE);
    thread::spawn(move || read_all(io::stdin().lock(), &chunks));
    queue
}

fn read_all(mut input: impl Read, chunks: &mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let mut chunk = vec![0; CHUNK];
        let read = match input.read(&mut chunk) {
            Ok(0) => return,
            Ok(length) => {
                chunk.truncate(length);
                Ok(Bytes::from(chunk))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = read.is_err();
        // Nobody takes them any more when the session is over.
        if chunks.blocking_send(read).is_err() || failed {
            return;
        }
    }
}

/// Standard output.
pub(crate) struct Stdout {
    chunks: mpsc::Sender<Bytes>,
    result: oneshot::Receiver<io::Result<()>>,
}

impl Stdout {
    pub(crate) fn open() -> io::Result<Self> {
        let output = output()?;
        let (chunks, queue) = mpsc::channel(QUEUE);
        let (done, result) = oneshot::channel();
        thread::spawn(move || {
            // Whoever asked may be gone by now.
            let _ = done.send(write_all(output, queue));
        });
        Ok(Self { chunks, result })
    }

    /// Queues a chunk. It may be written later or, if writing has failed, never: [`finish`](Self::finish)
    /// tells.
    ///
    /// # Errors
    /// What kept an earlier chunk from being written.
    pub(crate) async fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        if self.chunks.send(chunk).await.is_ok() {
            return Ok(());
        }
        let failed = (&mut self.result).await;
        Err(failed.ok().and_then(Result::err).unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()))
    }

    /// Waits until everything is written.
    pub(crate) async fn finish(self) -> io::Result<()> {
        drop(self.chunks);
        self.result.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }
}

fn write_all(mut output: impl Write, mut queue: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(chunk) = queue.blocking_recv() {
        output.write_all(&chunk)?;
    }
    output.flush()
}

/// Standard output without the standard library's buffer, which would look for lines in it.
#[cfg(unix)]
fn output() -> io::Result<impl Write + Send + 'static> {
    use std::os::fd::AsFd;
    Ok(std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

#[cfg(not(unix))]
fn output() -> io::Result<impl Write + Send + 'static> {
    Ok(io::stdout())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn input_comes_in_large_chunks_and_ends() {
        let (chunks, mut queue) = mpsc::channel(QUEUE);
        thread::spawn(move || read_all(io::repeat(7).take(CHUNK as u64 + 1), &chunks));
        assert_eq!(queue.recv().await.unwrap().unwrap().len(), CHUNK);
        assert_eq!(queue.recv().await.unwrap().unwrap().len(), 1);
        assert!(queue.recv().await.is_none());
    }

    #[test]
    fn output_is_written_in_order() {
        let (chunks, queue) = mpsc::channel(QUEUE);
        chunks.blocking_send(Bytes::from_static(b"a\nb")).unwrap();
        chunks.blocking_send(Bytes::from_static(b"c")).unwrap();
        drop(chunks);
        let mut written = Vec::new();
        write_all(&mut written, queue).unwrap();
        assert_eq!(written, b"a\nbc");
    }
}
