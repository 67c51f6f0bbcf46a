//! The control plane and simulated agents under virtual time with faults.
