//! A running server with modules.

use crate::client::Client;
use crate::program::{self, Shared};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tonic::transport::Endpoint;
use viewfeed_catalog::{CompiledModule, ModuleFiles, ModuleState, Modules, compile};
use viewfeed_change::{Relations, Result};
use viewfeed_feed::{Feed, FeedOptions};
use viewfeed_server::{Origins, Server, ServerOptions};
use viewfeed_store::{Options, Store};

/// Writes with every shape, reads, feeds.
pub(crate) const CHAT: &str = r#"
syntax = "proto3";
package chat.v1;
import "viewfeed/v1/options.proto";
import "viewfeed/v1/feed.proto";

service Chat {
  rpc List(ListRequest) returns (ListResponse) { option (viewfeed.v1.rpc) = { query: { view: "message" } }; }
  rpc Watch(WatchRequest) returns (stream MessageFeed) { option (viewfeed.v1.rpc) = { subscribe: { view: "message" } }; }
  rpc Follow(FollowRequest) returns (stream Message) { option (viewfeed.v1.rpc) = { subscribe: { view: "message" } }; }
  rpc Send(Message) returns (SendResponse) { option (viewfeed.v1.rpc) = { mutate: { table: "message" operation: OPERATION_INSERT } }; }
  rpc Put(Message) returns (SendResponse) { option (viewfeed.v1.rpc) = { mutate: { table: "message" operation: OPERATION_UPSERT } }; }
  rpc Remove(Message) returns (SendResponse) { option (viewfeed.v1.rpc) = { mutate: { table: "message" operation: OPERATION_DELETE } }; }
  rpc SendMany(stream Message) returns (SendResponse) { option (viewfeed.v1.rpc) = { mutate: { table: "message" operation: OPERATION_INSERT } }; }
  rpc SendAll(stream Message) returns (SendResponse) { option (viewfeed.v1.rpc) = { mutate: { table: "message" operation: OPERATION_INSERT atomic_stream: true } }; }
  rpc SendEach(stream Message) returns (stream SendResponse) { option (viewfeed.v1.rpc) = { mutate: { table: "message" operation: OPERATION_INSERT } }; }
}
message Message {
  option (viewfeed.v1.table) = { key: "id" };
  string id = 1;
  string channel = 2;
  string text = 3;
}
message ListRequest { int32 page_size = 1; string page_token = 2; uint64 min_version = 3; }
message ListResponse { repeated Message messages = 1; string next_page_token = 2; uint64 version = 3; }
message WatchRequest { optional string channel = 1; viewfeed.v1.FeedRequest feed = 2; }
message FollowRequest { string channel = 1; }
message MessageKey { string id = 1; }
message MessageFeed { viewfeed.v1.Frame frame = 1; repeated Message upserts = 2; repeated MessageKey deletes = 3; }
message SendResponse { viewfeed.v1.Ack ack = 1; }
"#;

/// Another module.
pub(crate) const NOTES: &str = r#"
syntax = "proto3";
package notes.v1;
import "viewfeed/v1/options.proto";
import "viewfeed/v1/feed.proto";

service Notes {
  rpc Add(Note) returns (AddResponse) { option (viewfeed.v1.rpc) = { mutate: { table: "note" operation: OPERATION_INSERT } }; }
  rpc Watch(WatchRequest) returns (stream NoteFeed) { option (viewfeed.v1.rpc) = { subscribe: { view: "note" } }; }
}
message Note { option (viewfeed.v1.table) = { key: "id" }; string id = 1; string text = 2; }
message AddResponse { viewfeed.v1.Ack ack = 1; }
message WatchRequest { viewfeed.v1.FeedRequest feed = 1; }
message NoteKey { string id = 1; }
message NoteFeed { viewfeed.v1.Frame frame = 1; repeated Note upserts = 2; repeated NoteKey deletes = 3; }
"#;

/// The limits of the tests' servers.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024;
pub(crate) const STREAM_ROWS_MAX: usize = 50;

/// A server, its program, and what the test needs to change them.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    pub(crate) modules: watch::Sender<Arc<Modules>>,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) server: JoinHandle<Result<()>>,
    pub(crate) relations: Arc<Relations>,
    _folder: tempfile::TempDir,
}

impl World {
    /// With the modules `chat` and `notes`.
    pub(crate) async fn start() -> Self {
        let compiled = [compiled("chat", CHAT), compiled("notes", NOTES)];
        let mut relations = Relations::starting_at(1);
        for mut table in compiled.iter().flat_map(|module| module.tables.clone()) {
            table.id = relations.allocate();
            relations.put(table).unwrap();
        }
        let relations = Arc::new(relations);
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Options::default()).unwrap();
        program::create(&store, &relations).unwrap();
        let feed = Feed::new(store.clone(), relations.clone(), FeedOptions::default());
        let mut modules = Modules::default();
        for module in &compiled {
            modules = with(&modules, module, &relations);
        }
        let shared = Arc::new(Shared {
            store,
            feed: feed.clone(),
            writes_allowed: Semaphore::new(Semaphore::MAX_PERMITS),
            writes_asked: AtomicUsize::new(0),
            writes_done: AtomicUsize::new(0),
            reached: std::sync::Mutex::default(),
        });
        let (gateway, commands) = mpsc::channel(16);
        tokio::spawn(program::run(shared.clone(), commands));
        let server = Server::bind(options("127.0.0.1:0")).await.unwrap();
        let address = server.address();
        let (modules, live) = watch::channel(Arc::new(modules));
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let server = tokio::spawn(server.run(feed, live, gateway, stopped, Duration::from_secs(10)));
        Self {
            address,
            shared,
            modules,
            stop: Some(stop),
            server,
            relations,
            _folder: folder,
        }
    }

    /// Replaces, adds or removes a module.
    pub(crate) fn change_module(&self, name: &str, proto: Option<&str>) {
        let now = self.modules.borrow().clone();
        let next = match proto {
            Some(proto) => with(&now, &compiled(name, proto), &self.relations),
            None => now.with(name, None).unwrap(),
        };
        self.modules.send_replace(Arc::new(next));
    }

    /// A client with a connection of its own.
    pub(crate) async fn client(&self) -> Client {
        let channel = Endpoint::new(format!("http://{}", self.address))
            .unwrap()
            .connect()
            .await
            .unwrap();
        let mut pool = compiled("chat", CHAT).pool;
        let sets = [
            compiled("notes", NOTES).pool.encode_to_vec(),
            viewfeed_wire::DESCRIPTORS.to_vec(),
        ];
        for set in sets {
            pool.decode_file_descriptor_set(set.as_slice()).unwrap();
        }
        Client {
            channel,
            pool,
            timeout: None,
            gzip: false,
            min_position: None,
        }
    }
}

pub(crate) fn options(listen: &str) -> ServerOptions {
    ServerOptions {
        listen: listen.parse().unwrap(),
        message_bytes_max: MESSAGE_BYTES_MAX,
        heartbeat: Duration::from_secs(15),
        stream_rows_max: STREAM_ROWS_MAX,
        origins: Origins::Local,
        sql_type: |column| column.data_type.to_string().to_lowercase(),
    }
}

fn compiled(name: &str, proto: &str) -> CompiledModule {
    let files = vec![(format!("{name}.proto"), proto.as_bytes().to_vec())];
    compile(&ModuleFiles {
        name: name.to_owned(),
        files,
    })
    .unwrap()
}

fn with(modules: &Modules, module: &CompiledModule, relations: &Relations) -> Modules {
    let live = Some(Arc::new(module.bind(relations, &|_| Ok(())).unwrap()));
    let state = ModuleState {
        live,
        refused: Vec::new(),
        changed_at: program::COMMIT_TIME,
    };
    modules.with(&module.name, Some(state)).unwrap()
}
