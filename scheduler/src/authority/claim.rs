//! What a certificate says of its member, in one URI that only the authority can have signed:
//! `tengyun://node/<id>/<admission>/<until>` or `tengyun://person/<name>/<admission>/<until>`.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use tengyun_model::{Admission, At, Name, NodeId};

const SCHEME: &str = "tengyun://";

/// Whom a certificate is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// A node, by its id.
    Node(NodeId),
    /// A person, by the name.
    Person(Name),
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Whom it is of.
    pub subject: Subject,
    /// As whom it was let in.
    pub admission: Admission,
    /// Until when it holds, as in the certificate's own validity.
    pub until: At,
}

impl Claim {
    /// Reads the claim of a certificate that was verified.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
        let mut names = certificate.valid_uri_names();
        let only = names.next()?;
        if names.next().is_some() {
            return None;
        }
        only.parse().ok()
    }

    /// Returns a name for people who look at the certificate.
    pub(crate) fn name(&self) -> String {
        match &self.subject {
            Subject::Node(id) => format!("node {id}"),
            Subject::Person(name) => format!("person {name}"),
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (admission, until) = (self.admission, self.until.millis());
        match &self.subject {
            Subject::Node(id) => write!(f, "{SCHEME}node/{id}/{admission}/{until}"),
            Subject::Person(name) => write!(f, "{SCHEME}person/{name}/{admission}/{until}"),
        }
    }
}

/// Says that a text is no claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoClaim;

impl FromStr for Claim {
    type Err = NoClaim;

    fn from_str(text: &str) -> Result<Self, NoClaim> {
        let parts: Vec<&str> = text.strip_prefix(SCHEME).ok_or(NoClaim)?.split('/').collect();
        let [kind, name, admission, until] = parts[..] else { return Err(NoClaim) };
        let subject = match kind {
            "node" => Subject::Node(NodeId::new(number(name)?)),
            "person" => Subject::Person(name.parse().map_err(|_| NoClaim)?),
            _ => return Err(NoClaim),
        };
        let (admission, until) = (Admission::new(number(admission)?), number(until)?);
        Ok(Self { subject, admission, until: At::from_millis(until) })
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, NoClaim> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NoClaim);
    }
    text.parse().map_err(|_| NoClaim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_reads_as_it_is_written_and_nothing_else_is_one() {
        let name = Name::new("alice").unwrap();
        for subject in [Subject::Node(NodeId::new(7)), Subject::Person(name)] {
            let claim = Claim { subject, admission: Admission::new(2), until: At::from_millis(99) };
            assert_eq!(claim.to_string().parse(), Ok(claim));
        }
        for bad in [
            "",
            "tengyun://",
            "tengyun://node/7/2",
            "tengyun://node/7/2/99/1",
            "tengyun://node/+7/2/99",
            "tengyun://node/4294967296/2/99",
            "tengyun://person/../2/99",
            "tengyun://scheduler/x/2/99",
            "https://node/7/2/99",
        ] {
            assert_eq!(bad.parse::<Claim>(), Err(NoClaim), "{bad}");
        }
    }
}
