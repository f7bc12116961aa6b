"""What is Twilio's own on the simulated network: signatures, TwiML, Media Streams, REST."""
