//! What a sidecar binding says: its kind, its modifiers and its SQL as a declaration.

use super::explicit::{
    Refusal, declared_mutate, declared_query, declared_subscribe, filter_rule, order, parse_sql, refuse,
    row_field,
};
use super::{FilterRule, From, What};
use crate::binding::Mutation;
use crate::scope::Scope;
use crate::sidecar::SidecarBinding;
use crate::{sql, structure};
use prost_reflect::{MessageDescriptor, MethodDescriptor};
use viewfeed_wire::v1;

/// What a sidecar binding says.
pub(super) fn from_sidecar(
    scope: &Scope,
    method: &MethodDescriptor,
    binding: &SidecarBinding,
) -> Result<What, Refusal> {
    let mut words = Words::new(binding);
    let what = match binding.kind.as_str() {
        "query" => query(method, binding, &mut words)?,
        "subscribe" => subscribe(method, binding, &mut words)?,
        kind => mutate(scope, method, kind, &binding.body, &mut words)?,
    };
    words.finish(&binding.kind)?;
    Ok(what)
}

fn query(method: &MethodDescriptor, binding: &SidecarBinding, words: &mut Words) -> Result<What, Refusal> {
    let from = match sql::relation_name(&binding.body) {
        Some(relation) => From::Relation(relation),
        None => parse_sql(&binding.body, &method.input())?,
    };
    let order_by = order(&words.take("order_by").unwrap_or_default())?;
    let paging = page_sizes(&words.list("page"))?;
    let filter = words.filter(&method.input())?;
    Ok(What::Query(declared_query(
        method, from, order_by, paging, filter,
    )?))
}

fn subscribe(
    method: &MethodDescriptor,
    binding: &SidecarBinding,
    words: &mut Words,
) -> Result<What, Refusal> {
    let Some(relation) = sql::relation_name(&binding.body) else {
        return refuse(
            "a subscription reads a table or view, not a query",
            "write the name, or SELECT * FROM name; CREATE MATERIALIZED VIEW in migrations/ for anything else",
        );
    };
    let envelope = envelope(&words.take("envelope").unwrap_or_default(), method)?;
    let filter = words.filter(&method.input())?;
    let key = words.list("key");
    Ok(What::Subscribe(declared_subscribe(
        method,
        Some(relation),
        key,
        envelope,
        filter,
    )?))
}

fn mutate(
    scope: &Scope,
    method: &MethodDescriptor,
    kind: &str,
    body: &str,
    words: &mut Words,
) -> Result<What, Refusal> {
    let Some(mutation) = mutation_by_word(kind) else {
        let advice = "kinds are query, subscribe, insert, update, upsert, delete";
        return refuse(format!("there is no kind :{kind}"), advice);
    };
    let Some(table) = sql::relation_name(body) else {
        return refuse(
            format!("an {kind} names a table"),
            "write the table's name below the header",
        );
    };
    let row_field = row_field(
        scope,
        method,
        &words.take("row").unwrap_or_default(),
        Some(&table),
    )?;
    let atomic = words.take("atomic").is_some();
    Ok(What::Mutate(declared_mutate(
        method,
        Some(table),
        row_field,
        mutation,
        atomic,
    )?))
}

fn mutation_by_word(word: &str) -> Option<Mutation> {
    Some(match word {
        "insert" => Mutation::Insert,
        "update" => Mutation::Update,
        "upsert" => Mutation::Upsert,
        "delete" => Mutation::Delete,
        _ => return None,
    })
}

/// The modifiers of a sidecar binding that nobody has asked for yet.
struct Words(Vec<(String, String)>);

impl Words {
    fn new(binding: &SidecarBinding) -> Self {
        Self(binding.modifiers.clone())
    }

    fn take(&mut self, word: &str) -> Option<String> {
        let place = self.0.iter().position(|(known, _)| known == word)?;
        Some(self.0.remove(place).1)
    }

    fn list(&mut self, word: &str) -> Vec<String> {
        let inside = self.take(word).unwrap_or_default();
        inside
            .split(',')
            .map(|item| item.trim().to_owned())
            .filter(|item| !item.is_empty())
            .collect()
    }

    fn filter(&mut self, request: &MessageDescriptor) -> Result<FilterRule, Refusal> {
        let is_empty_list = self
            .0
            .iter()
            .any(|(word, inside)| word == "filter" && inside.is_empty());
        match self.list("filter") {
            none if none.is_empty() && is_empty_list => Ok(FilterRule::Listed(Vec::new())),
            items => filter_rule(&items, request),
        }
    }

    fn finish(&self, kind: &str) -> Result<(), Refusal> {
        let Some((word, _)) = self.0.first() else {
            return Ok(());
        };
        let known = match kind {
            "query" => "filter(…), order_by(…), page(default, max)",
            "subscribe" => "key(…), envelope(row|upsert|diff|state), filter(…)",
            _ => "row(field), atomic",
        };
        refuse(
            format!("{word} means nothing for :{kind}"),
            format!("known are {known}"),
        )
    }
}

fn page_sizes(sizes: &[String]) -> Result<(i32, i32), Refusal> {
    let number = |place: usize| sizes.get(place).map_or(Ok(0), |text| text.parse::<i32>());
    match (number(0), number(1)) {
        (Ok(default), Ok(max)) if sizes.len() <= 2 => Ok((default, max)),
        _ => refuse(
            "page(…) is not understood",
            "write page(default size, largest size), for example page(50, 200)",
        ),
    }
}

fn envelope(word: &str, method: &MethodDescriptor) -> Result<v1::Envelope, Refusal> {
    let is_bare = structure::frame_field(&method.output()).is_none();
    match word {
        "" => Ok(v1::Envelope::Unspecified),
        "row" if is_bare => Ok(v1::Envelope::Unspecified),
        "row" => refuse(
            "the response has a Frame, so its envelope is not row",
            "use upsert, diff or state",
        ),
        "upsert" => Ok(v1::Envelope::Upsert),
        "diff" => Ok(v1::Envelope::Diff),
        "state" => Ok(v1::Envelope::State),
        other => refuse(
            format!("there is no envelope {other}"),
            "envelopes are row, upsert, diff, state",
        ),
    }
}
