import { defineConfig } from "vite";

// Used by `npm run dev`: requests to the API go to the running platform at PLATFORM_API_URL.
const api = process.env["PLATFORM_API_URL"] ?? "http://127.0.0.1:8000";

export default defineConfig({
  build: { target: "es2022", sourcemap: false, chunkSizeWarningLimit: 600 },
  server: { host: "127.0.0.1", port: 3000, proxy: { "/api": { target: api, ws: true }, "/health": { target: api } } },
});
