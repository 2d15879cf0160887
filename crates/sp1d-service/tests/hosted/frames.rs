//! A connection of HTTP/2 that only shows which frames arrive.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const SETTINGS: u8 = 4;
/// The flag of a frame that confirms settings.
const ACKNOWLEDGED: u8 = 1;
pub(crate) const GOAWAY: u8 = 7;

/// The start of a connection, with a frame of settings that is empty.
const START: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

pub(crate) struct FrameStream(TcpStream);

impl FrameStream {
    /// Opens a connection, and waits until the server has accepted the settings.
    pub(crate) async fn connect(url: &str) -> Self {
        let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
        stream.write_all(START).await.unwrap();
        let mut frames = Self(stream);
        loop {
            match frames.next().await {
                Some((SETTINGS, ACKNOWLEDGED)) => return frames,
                Some(_) => {}
                None => panic!("the server has closed the connection"),
            }
        }
    }

    /// Returns the kind and the flags of the next frame. `None` if the connection is closed.
    async fn next(&mut self) -> Option<(u8, u8)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut content = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut content).await.ok()?;
        Some((head[3], head[4]))
    }

    /// Returns the kinds of all frames until the connection is closed.
    pub(crate) async fn kinds_until_closed(&mut self) -> Vec<u8> {
        let mut kinds = Vec::new();
        while let Some((kind, _)) = self.next().await {
            kinds.push(kind);
        }
        kinds
    }
}
