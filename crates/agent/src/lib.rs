//! Drives the engine with a runtime and speaks ACS and TCS.
