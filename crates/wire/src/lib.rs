//! Shape tables, the codecs of the AWS protocols, SigV4 and error envelopes.
