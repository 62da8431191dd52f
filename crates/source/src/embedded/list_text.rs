//! The text form of arrays, `{1,NULL,"a,b",{2,3}}`, split into the texts of its items.

use super::text::Fault;

/// The items of a list; an inner list stays text, to be split in turn. `NULL` without quotes is none.
pub(super) fn split(text: &str) -> Result<Vec<Option<String>>, Fault> {
    let inner = text
        .trim()
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
        .ok_or(Fault::Syntax)?;
    if inner.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut items = Vec::new();
    let mut item = Item::default();
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        match char {
            ',' if item.depth == 0 && !item.in_quotes => items.push(std::mem::take(&mut item).finish()?),
            '\\' => item.escaped(chars.next().ok_or(Fault::Syntax)?),
            other => item.push(other)?,
        }
    }
    items.push(item.finish()?);
    Ok(items)
}

/// An item as it is read.
#[derive(Default)]
struct Item {
    text: String,
    depth: usize,
    in_quotes: bool,
    quoted: bool,
}

impl Item {
    fn push(&mut self, char: char) -> Result<(), Fault> {
        match char {
            '"' => {
                self.in_quotes = !self.in_quotes;
                self.quoted |= self.depth == 0;
                if self.depth == 0 {
                    return Ok(());
                }
            }
            '{' if !self.in_quotes => self.depth += 1,
            '}' if !self.in_quotes => self.depth = self.depth.checked_sub(1).ok_or(Fault::Syntax)?,
            _ => {}
        }
        self.text.push(char);
        Ok(())
    }

    /// A character after a backslash. Within an inner list the backslash stays, for when that is split.
    fn escaped(&mut self, char: char) {
        self.quoted |= self.depth == 0;
        if self.depth > 0 {
            self.text.push('\\');
        }
        self.text.push(char);
    }

    fn finish(self) -> Result<Option<String>, Fault> {
        if self.in_quotes || self.depth > 0 {
            return Err(Fault::Syntax);
        }
        if self.quoted {
            return Ok(Some(self.text));
        }
        match self.text.trim() {
            "" => Err(Fault::Syntax),
            text if text.eq_ignore_ascii_case("null") => Ok(None),
            text => Ok(Some(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_at_their_own_commas_only() {
        let items = |text| {
            split(text).map(|items| {
                items
                    .into_iter()
                    .map(|item| item.unwrap_or("∅".into()))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(items("{1, 2,NULL}"), Ok(vec!["1".into(), "2".into(), "∅".into()]));
        assert_eq!(
            items(r#"{"a,b","NULL","q\"q"}"#),
            Ok(vec!["a,b".into(), "NULL".into(), "q\"q".into()])
        );
        assert_eq!(
            items(r#"{{1,2},{"x,\"y"}}"#),
            Ok(vec!["{1,2}".into(), r#"{"x,\"y"}"#.into()])
        );
        assert_eq!(items("{}"), Ok(vec![]));
        assert_eq!(items(r#"{""}"#), Ok(vec![String::new()]));
        for wrong in ["1,2", "{1,", "{1,}", "{\"a}", "{{1}", "{1}}"] {
            assert_eq!(split(wrong), Err(Fault::Syntax), "{wrong}");
        }
    }
}
