//! The columns that all tables have: tenant, service, function, resource, scope and
//! attributes.
//!
//! What is written for a resource or a scope is worked out once, and kept by its bytes:
//! the next request of the same sender costs one look-up.

mod sources;

use arrow::array::ArrayRef;
use arrow::error::ArrowError;
use hopline_model::Table;
use hopline_proto::wire::WireError;

use self::sources::Sources;
use super::Stop;
use super::attributes::Attributes;
use super::column::{Blanks, Dict, Optional, Values};
use super::message::Envelope;
use super::verify::Refusal;

/// The keys of what is written for the current resource and scope.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    tenant: i32,
    service: i32,
    function: Option<i32>,
    resource: i32,
    scope_name: i32,
    scope_version: i32,
    scope: i32,
    resource_hash: u64,
    scope_hash: u64,
    resource_refusal: Option<Refusal>,
    scope_refusal: Option<Refusal>,
}

/// The columns that all tables have.
#[derive(Debug)]
pub(super) struct Common {
    rows: usize,
    batch: u64,
    place: Place,
    tenant: Dict,
    service: Dict,
    function: Optional<Dict>,
    scope_name: Dict,
    scope_version: Dict,
    scope: Dict,
    resource: Dict,
    pub(super) attributes: Attributes,
    resources: Sources,
    scopes: Sources,
}

impl Common {
    pub(super) fn new(table: Table) -> Self {
        Common {
            rows: 0,
            batch: 1,
            place: Place::default(),
            tenant: Dict::default(),
            service: Dict::default(),
            function: Optional::default(),
            scope_name: Dict::default(),
            scope_version: Dict::default(),
            scope: Dict::default(),
            resource: Dict::default(),
            attributes: Attributes::new(table),
            resources: Sources::default(),
            scopes: Sources::default(),
        }
    }

    /// Complete rows; also the number of the one that is being written.
    #[inline]
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// What follows belongs to `tenant`.
    pub(super) fn enter_tenant(&mut self, tenant: &str) {
        self.place.tenant = self.tenant.key(tenant.as_bytes());
    }

    /// What follows belongs to this resource.
    pub(super) fn enter_resource(&mut self, envelope: &Envelope<'_>) -> Result<(), WireError> {
        let batch = self.batch;
        let source = self.resources.get(&envelope.source, envelope.schema_url, sources::resource)?;
        if source.batch != batch {
            source.batch = batch;
            source.key = self.resource.key(source.text.as_bytes());
            source.name_key = self.service.key(source.name.as_bytes());
            source.detail_key = source.detail.as_ref().map(|f| self.function.values().key(f.as_bytes()));
        }
        self.place.resource = source.key;
        self.place.service = source.name_key;
        self.place.function = source.detail_key;
        self.place.resource_hash = source.hash;
        self.place.resource_refusal = source.refusal;
        Ok(())
    }

    /// What follows belongs to this scope.
    pub(super) fn enter_scope(&mut self, envelope: &Envelope<'_>) -> Result<(), WireError> {
        let batch = self.batch;
        let source = self.scopes.get(&envelope.source, envelope.schema_url, sources::scope)?;
        if source.batch != batch {
            source.batch = batch;
            source.key = self.scope.key(source.text.as_bytes());
            source.name_key = self.scope_name.key(source.name.as_bytes());
            source.detail_key = source.detail.as_ref().map(|v| self.scope_version.key(v.as_bytes()));
        }
        self.place.scope = source.key;
        self.place.scope_name = source.name_key;
        self.place.scope_version = source.detail_key.unwrap_or_default();
        self.place.scope_hash = source.hash;
        self.place.scope_refusal = source.refusal;
        Ok(())
    }

    /// Why everything of the current resource and scope is refused.
    #[inline]
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.place.resource_refusal.or(self.place.scope_refusal)
    }

    /// Hashes of the current resource and scope that are the same on every machine.
    pub(super) fn source_hashes(&self) -> (u64, u64) {
        (self.place.resource_hash, self.place.scope_hash)
    }

    /// Ends the current row, whose attributes stand already. `function` is for a sender
    /// that is not a function by its resource.
    #[inline]
    pub(super) fn end_row(&mut self, function: Option<&str>) {
        let (row, place) = (self.rows, self.place);
        self.tenant.push_key(place.tenant);
        self.service.push_key(place.service);
        match (place.function, function) {
            (Some(key), _) => self.function.at(row).push_key(key),
            (None, Some(name)) => self.function.at(row).push(name.as_bytes()),
            (None, None) => {}
        }
        self.scope_name.push_key(place.scope_name);
        self.scope_version.push_key(place.scope_version);
        self.scope.push_key(place.scope);
        self.resource.push_key(place.resource);
        self.rows = row + 1;
    }

    /// Whether the sender is a function by its resource.
    #[inline]
    pub(super) fn has_function(&self) -> bool {
        self.place.function.is_some()
    }

    /// Forgets all rows from `rows` on, and what was begun of the next.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.rows = rows;
        for dict in self.dicts_mut() {
            dict.truncate(rows);
        }
        self.function.truncate(rows);
        self.attributes.truncate(rows);
    }

    fn dicts_mut(&mut self) -> [&mut Dict; 6] {
        [
            &mut self.tenant,
            &mut self.service,
            &mut self.scope_name,
            &mut self.scope_version,
            &mut self.scope,
            &mut self.resource,
        ]
    }

    fn dicts(&self) -> [&Dict; 6] {
        [&self.tenant, &self.service, &self.scope_name, &self.scope_version, &self.scope, &self.resource]
    }

    pub(super) fn bytes(&self) -> usize {
        self.dicts().iter().map(|d| d.bytes()).sum::<usize>() + self.function.bytes() + self.attributes.bytes()
    }

    pub(super) fn full(&self) -> bool {
        self.dicts().iter().any(|d| d.full()) || self.function.full() || self.attributes.full()
    }

    /// All columns of the table, in the order of its schema: `own` are those that only
    /// this table has.
    pub(super) fn finish(
        &mut self,
        blanks: &mut Blanks,
        own: impl FnOnce(usize, &mut Blanks, &mut Vec<ArrayRef>) -> Result<(), ArrowError>,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        let rows = std::mem::take(&mut self.rows);
        self.batch += 1;
        self.place = Place::default();
        let mut out = Vec::with_capacity(96);
        out.push(self.tenant.finish(None)?);
        own(rows, blanks, &mut out)?;
        out.push(self.service.finish(None)?);
        out.push(self.function.finish(rows, blanks)?);
        out.push(self.scope_name.finish(None)?);
        out.push(self.scope_version.finish(None)?);
        out.push(self.scope.finish(None)?);
        out.push(self.resource.finish(None)?);
        self.attributes.finish(rows, blanks, &mut out)?;
        Ok(out)
    }
}

/// A value that is nested too deep makes a source refused, not broken.
fn refusal_of(result: Result<(), Stop>) -> Result<Option<Refusal>, WireError> {
    match result {
        Ok(()) => Ok(None),
        Err(Stop::TooDeep) => Ok(Some(Refusal::TooDeep)),
        Err(Stop::Wire(error)) => Err(error),
    }
}
