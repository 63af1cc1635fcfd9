// Plays the recording where the picture stands that was drawn from it. If anything is missing on the way (no page of a
// disk may fetch), the picture stays.
(async () => {
  const picture = document.querySelector('img[src="demo.svg"]');
  const data = await (await fetch("assets/demo.cast")).text();
  // Before somebody starts it, it shows the moment that tells most: who gets in, who does not, and why.
  const [moment] = data.trim().split("\n").slice(1).map(JSON.parse).find(([, , said]) => said.startsWith("ACCEPT"));
  const place = document.createElement("div");
  place.setAttribute("role", "group");
  place.setAttribute("aria-label", picture.alt);
  picture.after(place);
  AsciinemaPlayer.create({ data }, place, { fit: "width", poster: `npt:${moment + 0.1}` });
  picture.remove();
})().catch((error) => console.info(`no player: ${error}`));
