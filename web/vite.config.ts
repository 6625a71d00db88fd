import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

const server = "http://127.0.0.1:8000";

export default defineConfig({
  plugins: [react()],
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: {
    proxy: {
      "/auth": server,
      "/user": server,
      "/chat": server,
      "/attachment": server,
      "/ws": { target: server, ws: true },
    },
  },
  test: { environment: "jsdom", globals: false, restoreMocks: true },
});
