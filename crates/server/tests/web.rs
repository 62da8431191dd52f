//! Browsers and probes: plain HTTP/1.1 written by hand, so that nothing of the server's own stack is on the other side.

use crate::calls::message;
use crate::world::World;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use std::collections::HashMap;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use viewfeed_server::Origins;

pub(crate) struct Answer {
    status: u16,
    pub(crate) headers: HashMap<String, String>,
    reader: BufReader<TcpStream>,
}

impl Answer {
    /// The next piece of a body; empty at its end.
    async fn chunk(&mut self) -> Vec<u8> {
        if let Some(length) = self.headers.remove("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            self.reader.read_exact(&mut body).await.unwrap();
            return body;
        }
        if !self.headers.contains_key("transfer-encoding") {
            return Vec::new();
        }
        let mut size = String::new();
        self.reader.read_line(&mut size).await.unwrap();
        let mut chunk = vec![0; usize::from_str_radix(size.trim(), 16).unwrap() + 2];
        self.reader.read_exact(&mut chunk).await.unwrap();
        chunk.truncate(chunk.len() - 2);
        chunk
    }

    async fn body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk().await;
            if chunk.is_empty() {
                return body;
            }
            body.extend(chunk);
        }
    }
}

pub(crate) async fn http(world: &World, head: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "{head}\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await.unwrap();
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
    let headers = headers
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    Answer {
        status,
        headers,
        reader,
    }
}

pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    frame
}

/// The messages and the trailers of a gRPC-Web body.
fn unframed(mut body: &[u8]) -> (Vec<Vec<u8>>, String) {
    let (mut messages, mut trailers) = (Vec::new(), String::new());
    while !body.is_empty() {
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        let payload = body[5..5 + length].to_vec();
        if body[0] & 0x80 == 0 {
            messages.push(payload);
        } else {
            trailers = String::from_utf8(payload).unwrap();
        }
        body = &body[5 + length..];
    }
    (messages, trailers)
}

#[tokio::test]
async fn grpc_web_in_binary_form() {
    let world = World::start().await;
    let client = world.client().await;
    let request = framed(&client.request("/chat.v1.Chat/Send", &message("a", "general")));
    let head =
        "POST /chat.v1.Chat/Send HTTP/1.1\r\ncontent-type: application/grpc-web+proto\r\nx-grpc-web: 1";
    let mut answer = http(&world, head, &request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/grpc-web+proto");
    let (messages, trailers) = unframed(&answer.body().await);
    assert_eq!(messages.len(), 1);
    assert!(trailers.contains("grpc-status:0"), "{trailers}");
}

#[tokio::test]
async fn grpc_web_in_text_form_streams() {
    let world = World::start().await;
    let client = world.client().await;
    client
        .unary("/chat.v1.Chat/Send", message("a", "general"))
        .await
        .unwrap();
    let request = framed(&client.request("/chat.v1.Chat/Follow", &json!({"channel": "general"})));
    for accept in ["accept: application/grpc-web-text\r\n", ""] {
        let head = format!(
            "POST /chat.v1.Chat/Follow HTTP/1.1\r\ncontent-type: application/grpc-web-text\r\n{accept}grpc-timeout: 500m"
        );
        let mut answer = http(&world, &head, BASE64_STANDARD.encode(&request).as_bytes()).await;
        assert_eq!(answer.status, 200);
        // The row comes while the stream is open.
        let chunk = BASE64_STANDARD.decode(answer.chunk().await).unwrap();
        let (messages, _) = unframed(&chunk);
        assert_eq!(
            messages,
            [client.message("chat.v1.Message", &message("a", "general"))]
        );
        let (_, trailers) = unframed(&BASE64_STANDARD.decode(answer.chunk().await).unwrap());
        assert!(
            trailers.contains("grpc-status:4"),
            "the deadline holds for browsers too: {trailers}"
        );
    }
}

#[tokio::test]
async fn a_browser_may_stream_to_the_server_in_one_body() {
    let world = World::start().await;
    let client = world.client().await;
    let path = "/chat.v1.Chat/SendMany";
    let mut body = framed(&client.request(path, &message("a", "general")));
    body.extend(framed(&client.request(path, &message("b", "general"))));
    let head = format!("POST {path} HTTP/1.1\r\ncontent-type: application/grpc-web");
    let mut answer = http(&world, &head, &body).await;
    let (messages, trailers) = unframed(&answer.body().await);
    assert!(trailers.contains("grpc-status:0"), "{trailers}");
    assert_eq!(messages.len(), 1);
}

#[tokio::test]
async fn a_preflight_is_allowed() {
    let world = World::start().await;
    let head = "OPTIONS /chat.v1.Chat/Send HTTP/1.1\r\norigin: http://localhost:8080\r\n\
                access-control-request-method: POST\r\n\
                access-control-request-headers: content-type,x-grpc-web,x-user-agent,grpc-timeout,authorization,viewfeed-tag";
    let answer = http(&world, head, b"").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "http://localhost:8080"
    );
    assert!(answer.headers["access-control-allow-methods"].contains("POST"));
    let allowed = &answer.headers["access-control-allow-headers"];
    for header in [
        "content-type",
        "x-grpc-web",
        "grpc-timeout",
        "authorization",
        "viewfeed-tag",
    ] {
        assert!(allowed.contains(header), "{header} in {allowed}");
    }
    assert_eq!(answer.headers["access-control-max-age"], "86400");
}

#[tokio::test]
async fn a_page_from_elsewhere_may_not_call_unless_it_is_listed() {
    let world = World::start().await;
    for origin in ["https://evil.example", "http://localhost.evil.example", "null"] {
        let head = format!(
            "OPTIONS /chat.v1.Chat/Send HTTP/1.1\r\norigin: {origin}\r\naccess-control-request-method: POST"
        );
        let answer = http(&world, &head, b"").await;
        assert!(
            !answer.headers.contains_key("access-control-allow-origin"),
            "{origin}"
        );
    }
    let listed: Origins = "https://app.example, http://10.0.0.7:8080".parse().unwrap();
    assert_eq!(
        listed,
        Origins::Listed(vec![
            "https://app.example".parse().unwrap(),
            "http://10.0.0.7:8080".parse().unwrap()
        ])
    );
    for wrong in ["", "app.example", "https://app.example/path"] {
        let error = wrong.parse::<Origins>().unwrap_err().to_string();
        assert!(error.contains("is not an origin"), "{error}");
    }
}

#[tokio::test]
async fn a_page_may_read_the_status_of_its_call() {
    let world = World::start().await;
    let head =
        "POST /no.Such/Rpc HTTP/1.1\r\ncontent-type: application/grpc-web\r\norigin: http://localhost:8080";
    let answer = http(&world, head, &framed(b"")).await;
    assert_eq!(answer.headers["grpc-status"], "12");
    let exposed = &answer.headers["access-control-expose-headers"];
    for header in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        assert!(exposed.contains(header), "{header} in {exposed}");
    }
}

#[tokio::test]
async fn probes_and_people_get_pages() {
    let world = World::start().await;
    for (path, part) in [("/healthz", "ok"), ("/readyz", "ok"), ("/", "chat.v1.Chat")] {
        let mut answer = http(&world, &format!("GET {path} HTTP/1.1"), b"").await;
        assert_eq!(answer.status, 200, "{path}");
        let body = String::from_utf8(answer.body().await).unwrap();
        assert!(body.contains(part), "{path}: {body}");
    }
    let mut answer = http(&world, "GET /nothing HTTP/1.1", b"").await;
    assert_eq!(answer.status, 404);
    assert!(String::from_utf8(answer.body().await).unwrap().contains("gRPC"));
}
