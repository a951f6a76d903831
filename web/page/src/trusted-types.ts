// The page's one way from text to code (Trusted Types; the policy in the page's headers asks for it): the client's own worker, and nothing else.

/** Where the global controller serves them. */
const OWN_SCRIPTS = new Set(["/worker.js"]);

interface PolicyFactory {
  createPolicy(name: "default", rules: { createScriptURL: (url: string) => string | null }): unknown;
}

/** Call it before anything starts a worker. */
export function trustOwnScripts(): void {
  const { trustedTypes } = globalThis as { trustedTypes?: PolicyFactory };
  // A rule that answers null refuses; those that are not there refuse everything: no markup and no script is ever made from text.
  trustedTypes?.createPolicy("default", { createScriptURL: (url) => (OWN_SCRIPTS.has(url) ? url : null) });
}
