//! Ties a plan's relations to a reader: every scan of a `RelationTable` becomes one of rows as of that reader.
