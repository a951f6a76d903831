//! API clients, accounts, signing keys.

use global_controller_core::Scopes;

use super::super::pool::{Connection, Row, args};
use super::super::{Account, ApiClient, ClientChange, SigningKey, StoreError, TenantId, UnixMillis};
use super::{SqlStore, webhooks};

/// Without a name nothing is to be changed, and requests for one account need not wait for each other.
const INSERT_USER: &str = "INSERT INTO users (id, tenant_id, subject, display_name, created_at) VALUES ($1, $2, $3, $3, $4) \
    ON CONFLICT (tenant_id, subject) DO NOTHING";
const UPSERT_USER: &str = "INSERT INTO users (id, tenant_id, subject, display_name, created_at) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (tenant_id, subject) DO UPDATE SET display_name = excluded.display_name WHERE users.display_name <> excluded.display_name";
/// Begins every query that [`client`] reads.
macro_rules! select_client {
    ($rest:literal) => {
        concat!("SELECT id, secret_hash, tenant_id, name, scopes, rate_limit, created_at, revoked_at FROM api_clients ", $rest)
    };
}

pub(super) async fn upsert_user(
    connection: &mut Connection,
    tenant: TenantId,
    account: &Account,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let id = common::random::uuid();
    let done = match &account.display_name {
        None => connection.execute(INSERT_USER, args![id, tenant, &account.subject, now]).await,
        Some(name) => connection.execute(UPSERT_USER, args![id, tenant, &account.subject, name, now]).await,
    };
    done.map(drop)
}

pub(super) async fn create(store: &SqlStore, client: &ApiClient) -> Result<(), StoreError> {
    let insert = "INSERT INTO api_clients (id, secret_hash, tenant_id, name, scopes, rate_limit, created_at, revoked_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let args = args![
        &client.id,
        &client.secret_hash,
        client.tenant,
        &client.name,
        client.scopes.to_string(),
        client.rate_limit.map(i64::from),
        client.created_at,
        client.revoked_at
    ];
    store.write().await?.execute(insert, args).await.map(drop)
}

pub(super) async fn find(store: &SqlStore, id: &str) -> Result<Option<ApiClient>, StoreError> {
    let row = store.read().await?.row(select_client!("WHERE id = $1"), args![id]).await?;
    row.as_ref().map(client).transpose()
}

pub(super) async fn all(store: &SqlStore) -> Result<Vec<ApiClient>, StoreError> {
    store.read().await?.rows(select_client!("ORDER BY created_at, id"), &[]).await?.iter().map(client).collect()
}

pub(super) async fn revoke(store: &SqlStore, id: &str, now: UnixMillis) -> Result<bool, StoreError> {
    let mut transaction = store.transaction().await?;
    let revoke = "UPDATE api_clients SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1";
    let known = transaction.execute(revoke, args![id, now]).await? == 1;
    webhooks::delete_all(&mut transaction, id).await?;
    transaction.commit().await?;
    Ok(known)
}

pub(super) async fn change(store: &SqlStore, id: &str, change: &ClientChange) -> Result<bool, StoreError> {
    let scopes = change.scopes.as_ref().map(ToString::to_string);
    let update = "UPDATE api_clients SET scopes = COALESCE($2, scopes), rate_limit = CASE WHEN $3 = 1 THEN $4 ELSE rate_limit END \
        WHERE id = $1 AND revoked_at IS NULL";
    let rate_limit = change.rate_limit.flatten().map(i64::from);
    let args = args![id, scopes.as_deref(), i64::from(change.rate_limit.is_some()), rate_limit];
    Ok(store.write().await?.execute(update, args).await? == 1)
}

pub(super) async fn revoked_since(store: &SqlStore, since: UnixMillis) -> Result<Vec<String>, StoreError> {
    let rows = store.read().await?.rows("SELECT id FROM api_clients WHERE revoked_at >= $1 ORDER BY revoked_at, id", args![since]).await?;
    rows.iter().map(|row| row.text("id")).collect()
}

pub(super) async fn signing_keys(store: &SqlStore, candidate: &SigningKey) -> Result<Vec<SigningKey>, StoreError> {
    let found = read_keys(&mut store.read().await?).await?;
    if !found.is_empty() {
        return Ok(found);
    }
    let mut transaction = store.transaction().await?;
    // However many processes start at once, one is first here, and the others find its key.
    transaction.lock_signing_keys().await?;
    let mut keys = read_keys(&mut transaction).await?;
    if keys.is_empty() {
        insert_key(&mut transaction, candidate).await?;
        keys.push(candidate.clone());
    }
    transaction.commit().await?;
    Ok(keys)
}

pub(super) async fn add_signing_key(store: &SqlStore, key: &SigningKey) -> Result<(), StoreError> {
    insert_key(&mut store.write().await?, key).await
}

pub(super) async fn drop_signing_keys(store: &SqlStore, key_ids: &[String]) -> Result<(), StoreError> {
    let mut transaction = store.transaction().await?;
    for key_id in key_ids {
        transaction.execute("DELETE FROM signing_keys WHERE key_id = $1", args![key_id]).await?;
    }
    transaction.commit().await
}

async fn insert_key(connection: &mut Connection, key: &SigningKey) -> Result<(), StoreError> {
    let insert = "INSERT INTO signing_keys (key_id, pkcs8, created_at) VALUES ($1, $2, $3)";
    connection.execute(insert, args![&key.key_id, key.pkcs8.as_slice(), key.created_at]).await.map(drop)
}

async fn read_keys(connection: &mut Connection) -> Result<Vec<SigningKey>, StoreError> {
    let rows = connection.rows("SELECT key_id, pkcs8, created_at FROM signing_keys ORDER BY created_at DESC, key_id", &[]).await?;
    let key =
        |row: &Row| Ok(SigningKey { key_id: row.text("key_id")?, pkcs8: row.bytes("pkcs8")?, created_at: row.integer("created_at")? });
    rows.iter().map(key).collect()
}

fn client(row: &Row) -> Result<ApiClient, StoreError> {
    let rate_limit = row.optional_integer("rate_limit")?.map(u32::try_from).transpose();
    Ok(ApiClient {
        id: row.text("id")?,
        secret_hash: row.text("secret_hash")?,
        tenant: row.parsed("tenant_id")?,
        name: row.text("name")?,
        scopes: Scopes::known_in(&row.text("scopes")?),
        rate_limit: rate_limit.map_err(|error| StoreError::Corrupt(format!("rate_limit: {error}")))?,
        created_at: row.integer("created_at")?,
        revoked_at: row.optional_integer("revoked_at")?,
    })
}
