import { defineConfig } from "vite";

// `npm run dev` beside a running platform: PLATFORM_API_URL says where its API is.
const api = process.env["PLATFORM_API_URL"] ?? "http://127.0.0.1:8000";

export default defineConfig({
  build: { target: "es2022", sourcemap: false, chunkSizeWarningLimit: 600 },
  server: { host: "127.0.0.1", port: 3000, proxy: { "/api": { target: api, ws: true }, "/health": { target: api } } },
});
