//! What an rpc does when nobody says: guessed from streams, names and key fields. Every guess is told, and a guess never
//! refuses a module.

use super::{
    Declared, DeclaredMutate, DeclaredQuery, DeclaredSubscribe, FilterRule, From, Origin, What,
    mutation_by_name, starts_with_word,
};
use crate::diagnostic::Diagnostic;
use crate::options;
use crate::scope::{Scope, rpc_path};
use crate::structure;
use prost_reflect::{FieldDescriptor, MessageDescriptor, MethodDescriptor};
use std::collections::BTreeSet;

/// Verbs of rpcs that read: they never insert.
const READS: [&str; 16] = [
    "Get", "List", "Find", "Fetch", "Search", "Read", "Load", "Lookup", "Query", "Count", "Watch", "Check",
    "Ping", "Describe", "Validate", "Login",
];
/// Endings of messages that ask for something and are no rows themselves.
const REQUESTS: [&str; 6] = ["Request", "Req", "Params", "Args", "Query", "Filter"];

const BIND: &str = "say what it does with option (viewfeed.v1.rpc), or in a .sql file beside the proto";

/// Declares the rpcs that nobody declared. `declared` holds the others.
pub(super) fn declare(
    scope: &Scope,
    open: Vec<MethodDescriptor>,
    declared: &mut Vec<Declared>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let mut guess = Guess {
        scope,
        rows: known_rows(scope, &open, declared),
    };
    // Writes first: they tell which messages are rows, and reads ask for that.
    let (reads, writes): (Vec<_>, Vec<_>) = open.into_iter().partition(|method| is_read(method.name()));
    for method in writes.into_iter().chain(reads) {
        let place = scope.method_place(&method);
        let what = guess.method(&method);
        let (message, advice) = explain(&method, &what);
        diagnostics.push(match what {
            What::Nothing(_) => place.warning(message, BIND),
            _ => place.note(message, advice),
        });
        declared.push(Declared {
            method,
            origin: Origin::Convention,
            place,
            what,
        });
    }
}

fn explain(method: &MethodDescriptor, what: &What) -> (String, &'static str) {
    let path = rpc_path(method);
    match what {
        What::Query(query) => (
            format!("guessed: {path} reads rows of {}", query.row.full_name()),
            BIND,
        ),
        What::Subscribe(subscribe) => (
            format!("guessed: {path} subscribes to {}", subscribe.row.full_name()),
            BIND,
        ),
        What::Mutate(mutate) => {
            let verb = format!("{:?}", mutate.mutation).to_lowercase();
            (
                format!("guessed: {path} does {verb} with {}", mutate.row.full_name()),
                BIND,
            )
        }
        What::Nothing(reason) => (format!("{path} does nothing: {reason}"), BIND),
    }
}

/// Messages that hold rows for a reason other than a guessed mutation: full names.
fn known_rows(scope: &Scope, open: &[MethodDescriptor], declared: &[Declared]) -> BTreeSet<String> {
    let with_option = scope
        .messages()
        .into_iter()
        .filter(|message| options::table(message).is_some());
    let streamed = open
        .iter()
        .filter(|method| method.is_server_streaming())
        .filter_map(streamed_row);
    let bound = declared.iter().filter_map(|one| match &one.what {
        What::Mutate(mutate)
            if mutate
                .table
                .as_deref()
                .is_none_or(|table| table == scope.relation_name(&mutate.row)) =>
        {
            Some(mutate.row.clone())
        }
        What::Subscribe(subscribe) => Some(subscribe.row.clone()),
        _ => None,
    });
    let created = scope
        .messages()
        .into_iter()
        .filter(|message| scope.created.contains(&scope.relation_name(message)));
    let all = with_option.chain(streamed).chain(bound).chain(created);
    all.map(|message| message.full_name().to_owned()).collect()
}

/// The message of the rows that a response streams.
fn streamed_row(method: &MethodDescriptor) -> Option<MessageDescriptor> {
    let response = method.output();
    match structure::frame_field(&response) {
        None => Some(response),
        Some(_) => structure::row_fields(&response)
            .into_iter()
            .next()
            .map(|(_, row)| row),
    }
}

struct Guess<'a> {
    scope: &'a Scope,
    rows: BTreeSet<String>,
}

impl Guess<'_> {
    fn method(&mut self, method: &MethodDescriptor) -> What {
        match (method.is_client_streaming(), method.is_server_streaming()) {
            (true, true) => What::Nothing("both sides stream".into()),
            (false, true) => self.subscribe(method),
            (false, false) if structure::ack_field(&method.output()).is_none() => {
                self.query(method).unwrap_or_else(|| self.mutate(method))
            }
            _ => self.mutate(method),
        }
    }

    fn subscribe(&self, method: &MethodDescriptor) -> What {
        match streamed_row(method) {
            Some(row) if self.scope.is_own(&row.parent_file()) => What::Subscribe(DeclaredSubscribe {
                row,
                relation: None,
                key: Vec::new(),
                envelope: viewfeed_wire::v1::Envelope::Unspecified,
                filter: FilterRule::Key,
            }),
            _ => What::Nothing("it streams no message of this module".into()),
        }
    }

    fn query(&self, method: &MethodDescriptor) -> Option<What> {
        let response = method.output();
        let found = structure::row_fields(&response).into_iter().next();
        let (rows, row) = match found {
            Some((field, row)) => (Some(field), row),
            None if self.is_row(&response) && is_read(method.name()) => (None, response),
            None => return None,
        };
        let from = From::Relation(self.scope.relation_name(&row));
        Some(What::Query(DeclaredQuery {
            rows,
            row,
            from,
            order_by: Vec::new(),
            default_page_size: 0,
            max_page_size: 0,
            filter: FilterRule::Key,
        }))
    }

    fn mutate(&mut self, method: &MethodDescriptor) -> What {
        let request = method.input();
        if is_read(method.name()) {
            return What::Nothing("its name says that it reads, but its response holds no rows".into());
        }
        let mutation = mutation_by_name(method.name());
        let found = if self.is_row(&request) {
            Some((request.clone(), None, None))
        } else if let Some((field, row)) = self.row_in(&request) {
            Some((row, Some(field), None))
        } else if let Some(table) = self.table_by_name(method) {
            Some((request.clone(), None, Some(table)))
        } else if self.scope.is_own(&request.parent_file()) && !is_request(&request) {
            Some((request.clone(), None, None))
        } else {
            None
        };
        let Some((row, row_field, table)) = found else {
            return What::Nothing(format!("{} holds no row of a table", request.full_name()));
        };
        self.rows.insert(row.full_name().to_owned());
        What::Mutate(DeclaredMutate {
            row,
            row_field,
            table,
            mutation,
            atomic_stream: false,
        })
    }

    fn is_row(&self, message: &MessageDescriptor) -> bool {
        self.rows.contains(message.full_name())
    }

    /// The only field of the request with a message of this module: `CreateChannelRequest { Channel channel = 1; }`.
    fn row_in(&self, request: &MessageDescriptor) -> Option<(FieldDescriptor, MessageDescriptor)> {
        let own = |field: FieldDescriptor| {
            let row = structure::message_of(&field)?;
            self.scope.is_own(&row.parent_file()).then_some((field, row))
        };
        let mut found = request.fields().filter_map(own);
        let first = found.next().filter(|_| found.next().is_none())?;
        (is_request(request) || self.is_row(&first.1)).then_some(first)
    }

    /// The table that the rpc's name ends with, if the request's fields are columns of it:
    /// `DeleteMessage(DeleteMessageRequest { string id = 1; })`.
    fn table_by_name(&self, method: &MethodDescriptor) -> Option<String> {
        let request = method.input();
        let fits = |row: &MessageDescriptor| {
            method.name().ends_with(row.name())
                && self.is_row(row)
                && request.fields().len() > 0
                && request
                    .fields()
                    .all(|field| row.get_field_by_name(field.name()).is_some())
        };
        let row = self.scope.messages().into_iter().find(fits)?;
        is_request(&request).then(|| self.scope.relation_name(&row))
    }
}

/// Whether a name begins with a verb of reading.
fn is_read(method: &str) -> bool {
    READS.iter().any(|verb| starts_with_word(method, verb))
}

fn is_request(message: &MessageDescriptor) -> bool {
    REQUESTS.iter().any(|ending| message.name().ends_with(ending))
}
