//! A subscriber of the generic service that adds up what it is told, over kills of the server: resumed by its token.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio_stream::StreamExt;
use viewfeed_wire::v1;
use viewfeed_wire::v1::frame::Kind;
use viewfeed_wire::v1::viewfeed_client::ViewfeedClient;

/// Rows as text, with how often each is there.
pub(crate) type Counted = BTreeMap<Vec<String>, i64>;

/// What has been added up of a feed of diffs.
#[derive(Default)]
pub(crate) struct Folded {
    token: Vec<u8>,
    version: u64,
    pub(crate) rows: Counted,
    /// Diffs of a version that is not complete yet: thrown away if the server dies in between.
    open: Vec<(Vec<String>, i64)>,
    /// Rows may be there more than once.
    has_repeats: bool,
    /// A column of integers that add up to zero after every version: whole transactions are seen, or none.
    balanced: Option<usize>,
    sum: i64,
}

impl Folded {
    /// Nothing yet of such a feed.
    pub(crate) fn of(has_repeats: bool, balanced: Option<usize>) -> Self {
        Self {
            has_repeats,
            balanced,
            ..Self::default()
        }
    }

    fn apply(&mut self, response: &v1::TailResponse) {
        let frame = response.frame.clone().unwrap_or_default();
        if matches!(frame.kind(), Kind::Reset) {
            panic!("the feed was reset ({}), although history was kept", frame.reason);
        }
        for (place, row) in response.rows.iter().enumerate() {
            let diff = frame.diffs.get(place).copied().unwrap_or(1);
            self.open.push((text(row), diff));
        }
        if frame.more || frame.resume_token.is_empty() {
            return;
        }
        if frame.kind() == Kind::Delta {
            assert!(
                frame.version > self.version,
                "version {} came twice",
                frame.version
            );
        }
        self.version = frame.version;
        self.token = frame.resume_token.to_vec();
        self.add_up();
    }

    fn add_up(&mut self) {
        let mut touched = Vec::new();
        for (row, diff) in self.open.drain(..) {
            self.sum += self.balanced.map_or(0, |place| integer(&row[place]) * diff);
            *self.rows.entry(row.clone()).or_default() += diff;
            touched.push(row);
        }
        let times_max = if self.has_repeats { i64::MAX } else { 1 };
        for row in touched {
            let times = self.rows.get(&row).copied().unwrap_or(0);
            assert!(
                (0..=times_max).contains(&times),
                "row {row:?} is there {times} times"
            );
            if times == 0 {
                self.rows.remove(&row);
            }
        }
        assert_eq!(
            self.sum, 0,
            "a part of a transaction was seen at version {}",
            self.version
        );
    }
}

fn text(row: &v1::Row) -> Vec<String> {
    row.values
        .iter()
        .map(|value| format!("{:?}", value.kind))
        .collect()
}

fn integer(text: &str) -> i64 {
    let digits = text.trim_start_matches("Some(Int(").trim_end_matches("))");
    digits.parse().expect("an integer")
}

fn tail(name: &str, token: Vec<u8>, up_to_version: u64) -> v1::TailRequest {
    let feed = v1::FeedRequest {
        resume_token: token.into(),
        up_to_version,
        envelope: v1::Envelope::Diff.into(),
        ..Default::default()
    };
    v1::TailRequest {
        relation: name.to_owned(),
        feed: Some(feed),
        filter: Vec::new(),
    }
}

/// Follows a feed until the server is gone.
pub(crate) async fn follow(address: String, name: &'static str, folded: Arc<Mutex<Folded>>) {
    folded.lock().unwrap().open.clear();
    let token = folded.lock().unwrap().token.clone();
    let Ok(mut client) = ViewfeedClient::connect(address).await else {
        return;
    };
    let Ok(frames) = client.tail(tail(name, token, 0)).await else {
        return;
    };
    let mut frames = frames.into_inner();
    while let Some(Ok(response)) = frames.next().await {
        folded.lock().unwrap().apply(&response);
    }
}

/// Goes on to `version`, which must come.
pub(crate) async fn catch_up(address: &str, name: &str, folded: &Mutex<Folded>, version: u64) {
    folded.lock().unwrap().open.clear();
    let token = folded.lock().unwrap().token.clone();
    let mut client = ViewfeedClient::connect(address.to_owned()).await.unwrap();
    let mut frames = client
        .tail(tail(name, token, version))
        .await
        .unwrap()
        .into_inner();
    while let Some(response) = frames.next().await {
        folded.lock().unwrap().apply(&response.unwrap());
    }
}

/// The newest version.
pub(crate) async fn version(address: &str) -> u64 {
    let mut client = ViewfeedClient::connect(address.to_owned()).await.unwrap();
    client
        .status(v1::StatusRequest {})
        .await
        .unwrap()
        .into_inner()
        .version
}

/// The rows of a query.
pub(crate) async fn rows(address: &str, sql: &str) -> Counted {
    let mut client = ViewfeedClient::connect(address.to_owned()).await.unwrap();
    let request = v1::ExecuteRequest {
        sql: sql.to_owned(),
        ..Default::default()
    };
    let mut responses = client.execute(request).await.unwrap().into_inner();
    let mut rows = Counted::new();
    while let Some(response) = responses.next().await {
        for row in response.unwrap().rows {
            *rows.entry(text(&row)).or_default() += 1;
        }
    }
    rows
}
