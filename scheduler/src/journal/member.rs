//! Tokens and members to and from journal messages.

use tengyun_engine::{Command, MemberImage, TokenImage, TokenUse};
use tengyun_model::{Admission, At, Digest, Grant, Member, Name, NodeId, OperationId, Wisher};
use tengyun_proto::v1;

use super::codec::{CodecError, operation};

/// A digest for the wire.
fn digest_to_wire(digest: Digest) -> Vec<u8> {
    digest.bytes().to_vec()
}

/// A digest from the wire.
fn digest_from_wire(bytes: &[u8]) -> Result<Digest, CodecError> {
    Digest::from_slice(bytes).ok_or(CodecError::Unknown("a digest of this length"))
}

/// The making of a token for the journal.
pub(super) fn create_to_wire(token: Digest, grant: &Grant, expires: At) -> v1::CreateToken {
    v1::CreateToken {
        token: digest_to_wire(token),
        grant: Some(grant.into()),
        expires_millis: expires.millis(),
    }
}

/// The making of a token from the journal.
pub(super) fn create_from_wire(wire: v1::CreateToken) -> Result<Command, CodecError> {
    Ok(Command::CreateToken {
        token: digest_from_wire(&wire.token)?,
        grant: wire.grant.ok_or(CodecError::Missing("grant"))?.try_into()?,
        expires: At::from_millis(wire.expires_millis),
    })
}

/// The use of a token for the journal.
pub(super) fn redeem_to_wire(token: Digest, member: &Member, key: Digest) -> v1::RedeemToken {
    v1::RedeemToken {
        token: digest_to_wire(token),
        member: Some(member.into()),
        key: digest_to_wire(key),
    }
}

/// The use of a token from the journal.
pub(super) fn redeem_from_wire(wire: v1::RedeemToken) -> Result<Command, CodecError> {
    Ok(Command::RedeemToken {
        token: digest_from_wire(&wire.token)?,
        member: wire.member.ok_or(CodecError::Missing("member"))?.try_into()?,
        key: digest_from_wire(&wire.key)?,
    })
}

/// A revocation for the journal.
pub(super) fn revoke_to_wire(operation: OperationId, member: &Member) -> v1::RevokeMember {
    v1::RevokeMember { operation_id: operation.to_string(), member: Some(member.into()) }
}

/// A revocation from the journal.
pub(super) fn revoke_from_wire(wire: v1::RevokeMember) -> Result<Command, CodecError> {
    Ok(Command::RevokeMember {
        operation: operation(&wire.operation_id)?,
        member: wire.member.ok_or(CodecError::Missing("member"))?.try_into()?,
    })
}

/// Who wished something, for the journal.
pub(super) fn wisher_to_wire(wisher: &Wisher) -> v1::Wisher {
    use v1::wisher::Wisher as Kind;
    let wisher = match wisher {
        Wisher::Local(uid) => Kind::LocalUid(*uid),
        Wisher::Person(name, role) => {
            Kind::Person(v1::PersonWisher { name: name.to_string(), role: Some(role.into()) })
        }
    };
    v1::Wisher { wisher: Some(wisher) }
}

/// Who wished something, from the journal.
pub(super) fn wisher_from_wire(wire: v1::Wisher) -> Result<Wisher, CodecError> {
    use v1::wisher::Wisher as Kind;
    match wire.wisher.ok_or(CodecError::Unknown("the one who wished"))? {
        Kind::LocalUid(uid) => Ok(Wisher::Local(uid)),
        Kind::Person(person) => {
            let name =
                Name::new(person.name).map_err(|_| CodecError::Unknown("a person's name"))?;
            let role = person.role.ok_or(CodecError::Missing("role"))?.try_into()?;
            Ok(Wisher::Person(name, role))
        }
    }
}

/// A token for a snapshot.
pub(super) fn token_to_wire(token: &TokenImage) -> v1::SnapshotToken {
    let used = token.used.as_ref();
    v1::SnapshotToken {
        token: digest_to_wire(token.digest),
        grant: Some((&token.grant).into()),
        expires_millis: token.expires.millis(),
        member: used.map(|used| (&used.member).into()),
        key: used.map(|used| digest_to_wire(used.key)).unwrap_or_default(),
    }
}

/// A token from a snapshot.
pub(super) fn token_from_wire(wire: v1::SnapshotToken) -> Result<TokenImage, CodecError> {
    let used = match wire.member {
        None => None,
        Some(member) => {
            Some(TokenUse { member: member.try_into()?, key: digest_from_wire(&wire.key)? })
        }
    };
    Ok(TokenImage {
        digest: digest_from_wire(&wire.token)?,
        grant: wire.grant.ok_or(CodecError::Missing("grant"))?.try_into()?,
        expires: At::from_millis(wire.expires_millis),
        used,
    })
}

/// A member for a snapshot.
pub(super) fn member_to_wire(member: &MemberImage) -> v1::SnapshotMember {
    v1::SnapshotMember {
        member: Some((&member.member).into()),
        node: member.node.map(NodeId::get),
        role: member.role.as_ref().map(Into::into),
        admission: member.admission.get(),
        admitted_millis: member.admitted.millis(),
        revoked_millis: member.revoked.map(At::millis),
    }
}

/// A member from a snapshot.
pub(super) fn member_from_wire(wire: v1::SnapshotMember) -> Result<MemberImage, CodecError> {
    Ok(MemberImage {
        member: wire.member.ok_or(CodecError::Missing("member"))?.try_into()?,
        node: wire.node.map(NodeId::new),
        role: wire.role.map(TryInto::try_into).transpose()?,
        admission: Admission::new(wire.admission),
        admitted: At::from_millis(wire.admitted_millis),
        revoked: wire.revoked_millis.map(At::from_millis),
    })
}
