//! A guarded echo server and its client on tokio.
//!
//! ```text
//! cargo run -p deadpeer --features tokio --example guarded_echo_tokio
//! ```
//!
//! What blocking code can't do easily: the client waits for a line from its user *and* for the server's
//! death, without reading from the server, and says so at once instead of at the user's next line.
#![allow(clippy::print_stdout)] // an example talks to whoever runs it

use std::error::Error;
use std::time::Duration;

use deadpeer::{Guarded, Policy, apply, guard};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let policy = Policy::detect(Duration::from_secs(10)).survive(Duration::from_secs(2)).build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let applied = apply(&listener, &policy)?;
    assert!(applied.gaps.is_empty(), "this kernel took all of it: {:?}", applied.gaps);
    let server = async {
        let (stream, _) = listener.accept().await?;
        let mut stream = guard(stream, &policy)?;
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await?;
        stream.write_all(&buffer[..length]).await?;
        println!("server: echoed {length} bytes, and goes home");
        Ok::<(), Box<dyn Error>>(())
    };
    let client = async {
        let stream = guard(TcpStream::connect(address).await?, &policy)?;
        talk(stream).await
    };
    tokio::try_join!(server, client)?;
    Ok(())
}

async fn talk(mut stream: Guarded<TcpStream>) -> Result<(), Box<dyn Error>> {
    stream.write_all(b"hello\n").await?;
    let mut answer = String::new();
    BufReader::new(&mut stream).read_line(&mut answer).await?;
    println!("client: {}", answer.trim_end());
    // The user thinks. Nothing is read from the server meanwhile, and yet its end is known at once.
    let user = tokio::time::sleep(Duration::from_secs(3600));
    tokio::select! {
        lost = stream.lost() => println!("client: {}", lost?),
        () = user => println!("client: the user has something to say"),
    }
    Ok(())
}
