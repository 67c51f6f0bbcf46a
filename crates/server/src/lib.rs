//! Listeners, front end, core driver, agent sessions, log store.
