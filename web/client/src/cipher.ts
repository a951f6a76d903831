// What a media stream's payloads pass through on their way, when a meeting is encrypted end to end (docs/end-to-end-encryption.md).
// In: the 46 bytes of a record's header and its payload. Out: the payload as it travels, or as it was. The header is never changed:
// it is authenticated with the payload, so whoever seals writes the final length into it first.

/** Seals or opens the records of one media stream (one stream id). */
export interface RecordCipher {
  /** By how many bytes a sealed payload is longer than the plain one. At most `CIPHER_OVERHEAD_BYTES_MAX`. */
  overheadBytes(sequence: bigint): number;
  /**
   * `header` is the record's 46 bytes as they will be sent, with the sealed payload's length in it. A pair of stream id and sequence
   * must be sealed once only, whatever the payload: a second time would give the key stream away.
   */
  seal(header: Uint8Array, sequence: bigint, payload: Uint8Array): Promise<Uint8Array>;
  /** Rejects when header or payload are not what was sealed, or under another secret. */
  open(header: Uint8Array, sequence: bigint, payload: Uint8Array): Promise<Uint8Array>;
}

/** Most bytes that sealing adds to a payload: the SFrame header with its longest counter (1 + 8), and the tag (16). */
export const CIPHER_OVERHEAD_BYTES_MAX = 25;
