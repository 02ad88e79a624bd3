"""The DiffDIS network: picture and noisy latents -> denoised mask and edge (Yang et al., ICLR 2025).

A stock UNet of the Stable Diffusion family with three additions. The batch holds the mask items first, then
the edge items of the same pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from edgebench.methods.diffdis.presets import Interaction, NetworkConfig

# Two bits tell the streams apart: 01 for the mask, 10 for the edge.
STREAM_BITS = torch.tensor([[0.0, 1.0], [1.0, 0.0]])


class DiffdisNetwork(nn.Module):
    """A UNet over picture and noisy latents, in which mask and edge of one picture inform each other.

    The embedding of the empty text is a constant of the network, the buffer `text` (1, tokens, width).
    """

    text: Tensor
    stream_codes: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        coarsest = len(config.channels) - 1
        self.unet: Any = UNet2DConditionModel(
            in_channels=2 * config.latent,
            out_channels=config.latent,
            block_out_channels=config.channels,
            down_block_types=tuple("CrossAttnDownBlock2D" if each else "DownBlock2D" for each in config.attention),
            up_block_types=tuple("CrossAttnUpBlock2D" if each else "UpBlock2D" for each in config.attention[::-1]),
            layers_per_block=config.layers,
            attention_head_dim=config.heads,  # diffusers calls the number of heads so
            cross_attention_dim=config.text,
            norm_num_groups=config.groups,
            use_linear_projection=config.linear,
            class_embed_type="projection" if config.stream_embedding else None,
            projection_class_embeddings_input_dim=2 * STREAM_BITS.shape[1] if config.stream_embedding else None,
        )
        self.register_buffer("text", torch.zeros(1, config.tokens, config.text))
        codes = torch.cat((STREAM_BITS.sin(), STREAM_BITS.cos()), dim=1)
        self.register_buffer("stream_codes", codes, persistent=False)
        if config.interaction != "none":
            blocks = self._middle()
            blocks[0] = InteractiveBlock(blocks[0], config.interaction)
            self.start_interaction()
        self.injectors = nn.ModuleList(
            Injector(config.latent, width) for width in config.channels[:coarsest] if config.injection
        )

    @property
    def divisor(self) -> int:
        """Height and width of a latent must be multiples of this."""
        return self.config.divisor

    def start_interaction(self) -> None:
        """Copy the middle block's self-attention to the attention between the streams, as the authors start it."""
        if self.config.interaction != "none":
            self._middle()[0].start_from_self_attention()

    def _middle(self) -> Any:
        return self.unet.mid_block.attentions[0].transformer_blocks

    def enable_gradient_checkpointing(self) -> None:
        """Trade time for memory in training: activations are computed again in the backward pass."""
        self.unet.enable_gradient_checkpointing()

    def embed(self, time: int) -> Tensor:
        """What the ResNet blocks are told: time step and stream, (streams, 4 * first width).

        It depends on the time step alone, so that a predictor computes it once.
        """
        unet = self.unet
        times = torch.full((self.config.streams,), time, device=self.text.device)
        embedding = unet.time_embedding(unet.time_proj(times).to(self.text.dtype))
        if self.config.stream_embedding:
            embedding = embedding + unet.class_embedding(self.stream_codes)
        return embedding

    def forward(
        self,
        image: Tensor,
        noisy: Tensor,
        time: int,
        smaller: Sequence[Tensor] = (),
        embedding: Tensor | None = None,
    ) -> Tensor:
        """Noise, velocity or clean latents, as `config.prediction` says.

        Args:
            image: Latents (B, C, h, w) of the pictures; h and w are multiples of `divisor`.
            noisy: Noisy latents (streams * B, C, h, w): first all masks, then all edges.
            time: Time step, 0 to 999.
            smaller: Latents of the pictures at 1/2, 1/4, ... of their size, each (B, C, h / 2, w / 2) and so
                on; read only with injection. Further ones are ignored.
            embedding: What `embed(time)` returned; computed here when it is None.

        Returns:
            (streams * B, C, h, w).
        """
        unet, count = self.unet, len(image)
        if embedding is None:
            embedding = self.embed(time)
        embedding = embedding.repeat_interleave(count, dim=0)
        streams = len(noisy) // count
        text = self.text.expand(len(noisy), -1, -1)

        hidden = unet.conv_in(torch.cat((image.repeat(streams, 1, 1, 1), noisy), dim=1))
        skips = [hidden]
        for level, block in enumerate(unet.down_blocks):
            hidden, outputs = _run(block, hidden, embedding, text)
            if level < len(self.injectors):
                # Only the stored skip changes: the picture's scales reach the decoder, not the next block.
                outputs = (*outputs[:-1], self.injectors[level](outputs[-1], smaller[level]))
            skips.extend(outputs)
        hidden = unet.mid_block(hidden, embedding, encoder_hidden_states=text)
        for block in unet.up_blocks:
            used = len(block.resnets)
            hidden = _run(block, hidden, embedding, text, res_hidden_states_tuple=tuple(skips[-used:]))
            del skips[-used:]
        return unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))


class Injector(nn.Module):
    """Scales and shifts a skip by what a smaller picture shows; does nothing until it is trained."""

    def __init__(self, latent: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(latent, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.activation = nn.GELU()
        self.scale = nn.Conv2d(width, width, 3, padding=1)
        self.shift = nn.Conv2d(width, width, 3, padding=1)
        for each in (self.scale, self.shift):
            nn.init.zeros_(each.weight)
            nn.init.zeros_(each.bias)  # type: ignore[arg-type]

    def forward(self, skip: Tensor, picture: Tensor) -> Tensor:
        """Skip (streams * B, width, h, w) and the picture's latent (B, C, h, w) -> the skip, changed."""
        # Once for all streams. The authors repeat the picture first, which changes only the last digits of the
        # running variance.
        seen = self.activation(self.norm(self.stem(picture)))
        streams = len(skip) // len(picture)
        scale, shift = (each(seen).repeat(streams, 1, 1, 1) for each in (self.scale, self.shift))
        return skip + skip * scale + shift


class InteractiveBlock(BasicTransformerBlock):
    """A transformer block with a further attention after self-attention, between mask and edge.

    Mask queries look at the edge's keys and values and the other way round, picture by picture.
    """

    def __init__(self, block: BasicTransformerBlock, interaction: Interaction) -> None:
        """Build a block like `block`, which is not changed."""
        super().__init__(
            block.dim,
            block.num_attention_heads,
            block.attention_head_dim,
            cross_attention_dim=block.cross_attention_dim,
        )
        self.interaction = interaction
        self.norm_between = nn.LayerNorm(block.dim)
        self.attention_between = Attention(
            block.dim, heads=block.num_attention_heads, dim_head=block.attention_head_dim
        )
        self.load_state_dict(block.state_dict(), strict=False)

    @torch.no_grad()
    def start_from_self_attention(self) -> None:
        """Copy self-attention and its norm to the attention between the streams."""
        self.norm_between.load_state_dict(self.norm1.state_dict())
        self.attention_between.load_state_dict(self.attn1.state_dict())

    def forward(  # type: ignore[override]
        self,
        hidden_states: Tensor,
        attention_mask: None = None,
        encoder_hidden_states: Tensor | None = None,
        *_: Any,
        **__: Any,
    ) -> Tensor:
        """Tokens (2 B, n, width) and the text (2 B, tokens, width of text) -> tokens.

        The signature is that of the stock block; what DiffDIS does not use is ignored.
        """
        hidden = hidden_states + self.attn1(self.norm1(hidden_states))
        own = self.norm_between(hidden)
        hidden = hidden + self.attention_between(own, encoder_hidden_states=self._context(own))
        hidden = hidden + self.attn2(self.norm2(hidden), encoder_hidden_states=encoder_hidden_states)
        return hidden + self.ff(self.norm3(hidden))

    def _context(self, own: Tensor) -> Tensor:
        if self.interaction == "self":
            return own
        other = own.roll(len(own) // 2, dims=0)
        return other if self.interaction == "mutual" else torch.cat((own, other), dim=1)


def _run(block: Any, hidden: Tensor, embedding: Tensor, text: Tensor, **more: Any) -> Any:
    """Run a level of the UNet, which takes the text only where it has cross-attention."""
    if getattr(block, "has_cross_attention", False):
        more["encoder_hidden_states"] = text
    return block(hidden_states=hidden, temb=embedding, **more)
