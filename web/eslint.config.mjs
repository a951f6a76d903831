// What the compiler does not see: promises that nobody waits for, comparisons that cannot hold, what the house does not write.
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["dist", "client/dist", "client/api", "client/src/generated", "node_modules", "scripts", "*.mjs"] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        project: [
          "tsconfig.page.json",
          "tsconfig.docs.json",
          "tsconfig.worker.json",
          "tsconfig.worklet.json",
          "tsconfig.test.json",
          "tsconfig.examples.json",
        ],
        tsconfigRootDir: import.meta.dirname,
      },
    },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      eqeqeq: "error",
      "no-console": "error",
      "no-eval": "error",
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      // A field may change at every await; the rule takes what was seen before it for granted.
      "@typescript-eslint/no-unnecessary-condition": "off",
      // `gives: void` in the table of requests.
      "@typescript-eslint/no-invalid-void-type": "off",
      "@typescript-eslint/no-unused-vars": ["error", { varsIgnorePattern: "^_$" }],
      // Numbers in words are meant.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      // `void promise` is how we say that nobody waits.
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true, ignoreVoidOperator: true }],
    },
  },
  {
    files: ["test/**/*.ts"],
    // node's own runner waits for its tests.
    rules: { "@typescript-eslint/no-floating-promises": "off", "@typescript-eslint/require-await": "off" },
  },
);
