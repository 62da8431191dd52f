//! `viewfeed call`: any rpc of any module, known only by reflection.

mod codec;
mod reflect;

use crate::cli::Call;
use crate::{client, output};
use codec::JsonCodec;
use prost_reflect::{DynamicMessage, MethodDescriptor, SerializeOptions};
use reflect::Reflection;
use std::io::BufRead;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::Channel;
use viewfeed_change::{Error, Result};

/// Lists what can be called, or calls it.
pub(super) async fn run(arguments: Call) -> Result<()> {
    let channel = client::connect(&arguments.remote.server).await?;
    let mut reflection = Reflection::new(channel.clone());
    let Some(method) = &arguments.method else {
        return list(&mut reflection).await;
    };
    let method = reflection.method(method).await?;
    let requests = requests(&arguments, &method)?;
    call(channel, method, requests, &arguments).await
}

async fn list(reflection: &mut Reflection) -> Result<()> {
    for service in reflection.services().await? {
        let descriptor = reflection.service(&service).await?;
        output::line(&service);
        for method in descriptor.methods() {
            let stream = |streaming: bool| if streaming { "stream " } else { "" };
            output::line(&format!(
                "  {}({}{}) returns ({}{})",
                method.name(),
                stream(method.is_client_streaming()),
                method.input().full_name(),
                stream(method.is_server_streaming()),
                method.output().full_name(),
            ));
        }
    }
    Ok(())
}

/// The requests, from the arguments or line by line from stdin as they come.
fn requests(arguments: &Call, method: &MethodDescriptor) -> Result<mpsc::Receiver<DynamicMessage>> {
    let (sender, receiver) = mpsc::channel(64);
    let from_stdin = match arguments.requests.as_slice() {
        [] => method.is_client_streaming(),
        [dash] => dash == "-",
        _ => false,
    };
    if from_stdin {
        let method = method.clone();
        std::thread::Builder::new()
            .name("viewfeed-stdin".into())
            .spawn(move || read_stdin(&method, &sender))?;
        return Ok(receiver);
    }
    let given: &[String] = if arguments.requests.is_empty() {
        &["{}".to_owned()]
    } else {
        &arguments.requests
    };
    let messages = given
        .iter()
        .map(|json| parse(json, method))
        .collect::<Result<Vec<_>>>()?;
    if messages.len() > 1 && !method.is_client_streaming() {
        return Err(
            Error::invalid("USAGE", format!("{} takes one request", method.full_name()))
                .hint("only a client-streaming rpc takes several"),
        );
    }
    let (all, receiver) = mpsc::channel(messages.len());
    for message in messages {
        // Cannot fail: the channel has room for all, and the receiver is here.
        let _ = all.try_send(message);
    }
    Ok(receiver)
}

/// Ends the stream at a line that is no message; what was sent before it stands.
fn read_stdin(method: &MethodDescriptor, sender: &mpsc::Sender<DynamicMessage>) {
    for line in std::io::stdin()
        .lock()
        .lines()
        .map_while(|line| line.ok())
        .filter(|line| !line.trim().is_empty())
    {
        match parse(&line, method) {
            Ok(message) => {
                if sender.blocking_send(message).is_err() {
                    return;
                }
            }
            Err(error) => {
                output::print_error(&error);
                std::process::exit(2);
            }
        }
    }
}

fn parse(json: &str, method: &MethodDescriptor) -> Result<DynamicMessage> {
    let wrong = |error: serde_json::Error| {
        Error::invalid(
            "REQUEST_JSON",
            format!("the request is not a {}", method.input().full_name()),
        )
        .because(error)
        .hint("fields are named as in the .proto file")
    };
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let message = DynamicMessage::deserialize(method.input(), &mut deserializer).map_err(wrong)?;
    deserializer.end().map_err(wrong)?;
    Ok(message)
}

async fn call(
    channel: Channel,
    method: MethodDescriptor,
    requests: mpsc::Receiver<DynamicMessage>,
    arguments: &Call,
) -> Result<()> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = path
        .parse()
        .map_err(|error| Error::invalid("USAGE", "this is no rpc name").because(error))?;
    let mut grpc = Grpc::new(channel);
    grpc.ready()
        .await
        .map_err(|error| Error::internal("the connection is gone").because(error))?;
    let mut request = tonic::Request::new(ReceiverStream::new(requests));
    if let Some(timeout_ms) = arguments.timeout_ms {
        request.set_timeout(Duration::from_millis(timeout_ms));
    }
    let response = grpc
        .streaming(request, path, JsonCodec::new(method.output()))
        .await
        .map_err(client::failure)?;
    let mut responses = response.into_inner();
    let mut count = 0;
    while let Some(message) = responses.next().await {
        print(&message.map_err(client::failure)?)?;
        count += 1;
        if arguments.max.is_some_and(|max| count >= max) {
            return Ok(());
        }
    }
    Ok(())
}

/// One line of JSON, with the field names of the `.proto` file.
fn print(message: &DynamicMessage) -> Result<()> {
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(true);
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut bytes);
    message
        .serialize_with_options(&mut serializer, &options)
        .map_err(|error| Error::internal("a response has no JSON form").because(error))?;
    output::line(&String::from_utf8_lossy(&bytes));
    Ok(())
}
