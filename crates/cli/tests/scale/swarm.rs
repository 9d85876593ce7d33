//! Many clients in one thread, that only beat.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use deadpeer_core::session::{Frame, Hello, Offer};

/// Clients that beat until they are silenced.
pub(crate) struct Swarm {
    clients: Arc<Mutex<Vec<Client>>>,
    stop: Arc<AtomicBool>,
    beating: Option<JoinHandle<()>>,
}

struct Client {
    stream: TcpStream,
    beats: bool,
}

impl Swarm {
    /// `count` clients called "client 0" …, that beat four times in `detect`.
    pub(crate) fn new(server: SocketAddr, count: usize, detect: Duration) -> Self {
        let offer = Offer::new(detect / 4, detect / 4, detect * 2);
        let clients: Arc<Mutex<Vec<Client>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let beating = {
            let (clients, stop) = (Arc::clone(&clients), Arc::clone(&stop));
            thread::spawn(move || {
                // A slice of them at a time, so that beats are spread evenly.
                const SLICES: usize = 64;
                for turn in (0..SLICES).cycle() {
                    let began = Instant::now();
                    for client in clients.lock().unwrap().iter().skip(turn).step_by(SLICES) {
                        if client.beats {
                            // A server that is gone shows elsewhere.
                            let _ = (&client.stream).write(&[2]);
                        }
                    }
                    thread::sleep((detect / 4 / SLICES as u32).saturating_sub(began.elapsed()));
                    if stop.load(Relaxed) {
                        return;
                    }
                }
            })
        };
        for number in 0..count {
            let mut stream = TcpStream::connect(server).unwrap();
            let mut hello = Vec::new();
            Frame::Hello(Hello { id: &format!("client {number}"), ..Hello::new(offer) }).encode(&mut hello);
            stream.write_all(&hello).unwrap();
            clients.lock().unwrap().push(Client { stream, beats: true });
        }
        Self { clients, stop, beating: Some(beating) }
    }

    /// Those for which `chosen` holds beat no more. When the last of them beat at the latest.
    pub(crate) fn silence(&self, chosen: impl Fn(usize) -> bool) -> Instant {
        for (number, client) in self.clients.lock().unwrap().iter_mut().enumerate() {
            client.beats &= !chosen(number);
        }
        Instant::now()
    }

    /// Whether the server has ended the connection of this client.
    pub(crate) fn is_over(&self, number: usize) -> bool {
        let clients = self.clients.lock().unwrap();
        let mut stream = &clients[number].stream;
        stream.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let _ = self.beating.take().unwrap().join();
    }
}
