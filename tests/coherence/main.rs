//! The history checker: whether strata keeps its guarantee whatever breaks. A binary of its own, so that nothing else
//! competes with it for the machine.

mod history;
#[path = "../integration/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the harness serves the integration tests too")]
mod support;
mod uses;
