"""An independent gRPC client that knows nothing of viewfeed but its address: everything comes from reflection."""

import sys
import threading

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc


class Client:
    """Calls rpcs by name, with messages made at run time."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.reflection = reflection_pb2_grpc.ServerReflectionStub(self.channel)
        self.pool = descriptor_pool.DescriptorPool()
        self.files = set()

    def ask(self, **request):
        responses = self.reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**request)]))
        return next(iter(responses))

    def services(self):
        return {s.name for s in self.ask(list_services="").list_services_response.service}

    def load(self, files):
        protos = [descriptor_pb2.FileDescriptorProto.FromString(f) for f in files]
        waiting = {p.name: p for p in protos if p.name not in self.files}

        def add(proto):
            for dependency in proto.dependency:
                if dependency in waiting:
                    add(waiting.pop(dependency))
                elif dependency not in self.files:
                    self.load(self.ask(file_by_filename=dependency).file_descriptor_response.file_descriptor_proto)
            if proto.name not in self.files:
                self.pool.Add(proto)
                self.files.add(proto.name)

        while waiting:
            add(waiting.pop(next(iter(waiting))))

    def method(self, name):
        service, method = name.split("/")
        self.load(self.ask(file_containing_symbol=service).file_descriptor_response.file_descriptor_proto)
        return self.pool.FindServiceByName(service).methods_by_name[method]

    def call(self, name, *requests, timeout=None):
        """The response of a unary answer, or the call itself of a streaming one."""
        method = self.method(name)
        request_class = message_factory.GetMessageClass(method.input_type)
        response_class = message_factory.GetMessageClass(method.output_type)
        messages = [json_format.ParseDict(r, request_class()) for r in requests]
        proto = descriptor_pb2.MethodDescriptorProto()
        method.CopyToProto(proto)
        kind = {
            (False, False): self.channel.unary_unary,
            (False, True): self.channel.unary_stream,
            (True, False): self.channel.stream_unary,
            (True, True): self.channel.stream_stream,
        }[(proto.client_streaming, proto.server_streaming)]
        stub = kind("/" + name, request_class.SerializeToString, response_class.FromString)
        return stub(iter(messages) if proto.client_streaming else messages[0], timeout=timeout)


def as_dict(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def expect_code(code, action):
    try:
        action()
    except grpc.RpcError as error:
        assert error.code() == code, (error.code(), error.details())
        return error
    raise AssertionError(f"no {code}")


def frames(call, kind):
    for response in call:
        if as_dict(response.frame).get("kind") == "KIND_" + kind:
            yield response


CHAT = "chat.v1.ChatService/"
SEED = "chatpb.ChatService/"


def lists_and_describes(client):
    services = client.services()
    for name in ["chat.v1.ChatService", "chatpb.ChatService", "viewfeed.v1.Viewfeed", "grpc.health.v1.Health"]:
        assert name in services, services
    method = client.method(CHAT + "ListMessages")
    assert method.input_type.full_name == "chat.v1.ListMessagesRequest"
    options = method.GetOptions()
    assert options.ByteSize() > 0, "custom options are kept"
    missing = client.ask(file_containing_symbol="no.Such")
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def send(client, text, channel="general", **more):
    return client.call(CHAT + "SendMessage", {"message": {"channel_id": channel, "sender": "py", "text": text, **more}})


def calls_and_pages(client):
    ack = client.call(CHAT + "CreateChannel", {"channel": {"id": "general", "topic": "Everything"}})
    assert ack.ack.version > 0
    requests = [{"message": {"channel_id": "general", "sender": "py", "text": f"m{i}"}} for i in range(5)]
    ack = client.call(CHAT + "SendMessages", *requests)
    assert ack.ack.rows == 5, ack
    texts, token = [], ""
    while True:
        page = client.call(
            CHAT + "ListMessages",
            {"channel_id": "general", "page_size": 2, "page_token": token, "min_version": str(ack.ack.version)},
        )
        assert len(page.messages) <= 2
        texts += [m.text for m in page.messages]
        token = page.next_page_token
        if not token:
            break
    assert sorted(texts) == ["m0", "m1", "m2", "m3", "m4"], texts
    expect_code(
        grpc.StatusCode.INVALID_ARGUMENT,
        lambda: client.call(CHAT + "ListMessages", {"channel_id": "general", "page_size": -1}),
    )
    expect_code(
        grpc.StatusCode.INVALID_ARGUMENT,
        lambda: client.call(CHAT + "ListMessages", {"channel_id": "general", "page_token": "rubbish"}),
    )
    error = expect_code(
        grpc.StatusCode.ALREADY_EXISTS,
        lambda: client.call(CHAT + "CreateChannel", {"channel": {"id": "general", "topic": "again"}}),
    )
    assert any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata()), "rich errors"


def subscribes_cancels_and_resumes(client):
    watch = client.call(CHAT + "WatchMessages", {"channel_id": "general"})
    first = next(watch)
    assert as_dict(first.frame)["kind"] == "KIND_HELLO"
    rows, snapshot = {}, None
    for snapshot in frames(watch, "SNAPSHOT"):
        rows.update({m.id: m.text for m in snapshot.messages})
        if snapshot.frame.caught_up:
            break
    assert len(rows) == 5 and all(m.channel_topic == "Everything" for m in snapshot.messages)
    send(client, "live")
    delta = next(frames(watch, "DELTA"))
    assert [m.text for m in delta.messages] == ["live"]
    token = delta.frame.resume_token
    watch.cancel()

    edited = delta.messages[0].id
    client.call(CHAT + "EditMessage", {"id": edited, "text": "edited"})
    gone = next(iter(rows))
    client.call(CHAT + "DeleteMessage", {"id": gone})
    import base64

    feed = {"resume_token": base64.b64encode(token).decode()}
    again = client.call(CHAT + "WatchMessages", {"channel_id": "general", "feed": feed})
    texts, deletes = [], []
    for delta in frames(again, "DELTA"):
        texts += [m.text for m in delta.messages]
        deletes += [k.id for k in delta.deletes]
        if deletes:
            break
    assert texts == ["edited"] and deletes == [gone], (texts, deletes)
    again.cancel()
    other = client.call(CHAT + "WatchMessages", {"channel_id": "other", "feed": feed})
    expect_code(grpc.StatusCode.INVALID_ARGUMENT, lambda: list(frames(other, "DELTA")))


def keeps_deadlines_on_streams(client):
    watch = client.call(CHAT + "WatchStats", {}, timeout=0.5)
    expect_code(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: list(watch))


def two_clients_chat_on_the_plain_proto(client):
    joined = [client.call(SEED + "JoinChannel", {"name": "general", "senders_name": n}) for n in ("ann", "bob")]
    received = {0: [], 1: []}

    def read(place):
        for message in joined[place]:
            received[place].append(message.message)
            if len(received[place]) == 2:
                joined[place].cancel()
                return

    threads = [threading.Thread(target=read, args=(place,)) for place in received]
    [t.start() for t in threads]
    message = lambda text, channel: {"sender": "ann", "channel": {"name": channel, "senders_name": "ann"}, "message": text}
    ack = client.call(SEED + "SendMessage", message("one", "general"), message("hidden", "other"), message("two", "general"))
    assert ack.status, ack
    [t.join(timeout=30) for t in threads]
    assert received == {0: ["one", "two"], 1: ["one", "two"]}, received


def unknown_rpcs_and_garbage_have_the_right_code(client):
    nope = client.channel.unary_unary("/chat.v1.ChatService/Nope")
    expect_code(grpc.StatusCode.UNIMPLEMENTED, lambda: nope(b""))
    garbage = client.channel.unary_unary("/chat.v1.ChatService/ListMessages")
    expect_code(grpc.StatusCode.INVALID_ARGUMENT, lambda: garbage(b"\xff\xff\xff\xff"))


if __name__ == "__main__":
    client = Client(sys.argv[1])
    for story in [
        lists_and_describes,
        calls_and_pages,
        subscribes_cancels_and_resumes,
        keeps_deadlines_on_streams,
        two_clients_chat_on_the_plain_proto,
        unknown_rpcs_and_garbage_have_the_right_code,
    ]:
        story(client)
        print("passed:", story.__name__.replace("_", " "))
    print("all stories passed")
