import { api } from "/scripts/api.js";
api.addEventListener("studio.said", (event) => console.log(event.detail));
